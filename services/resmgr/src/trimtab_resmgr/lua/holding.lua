-- What is held: sums, leases, and how they end.

local MOST_REAPED = 64

local lost = {}       -- what ended by itself or by force: token, its fence, pool
local unclaimed = 0   -- grants that nobody asked for again
local freed = {}      -- pools in which somebody may go next

-- Of the sums: of all, of the project, of the project in the domain. Written once in a call, because
-- making strings is what scripts spend most of their time on.
local named = {}
local function fields(project, domain)
  local of_project = named[project]
  if not of_project then
    of_project = {}
    named[project] = of_project
  end
  local found = of_project[domain]
  if not found then
    -- The length keeps "a:b" in "c" apart from "a" in "b:c".
    found = {'t', 'p:' .. project, 'd:' .. #project .. ':' .. project .. ':' .. domain}
    of_project[domain] = found
  end
  return found
end

-- Sums are read once and written once in a call, by `write_sums`.
local function sum(pool, field)
  local found = pool.known[field]
  if not found then
    found = tonumber(redis.call('HGET', pool.sums, field) or 0)
    pool.known[field] = found
  end
  return found
end

local function add(pool, weight, project, domain)
  for _, field in ipairs(fields(project, domain)) do
    pool.known[field] = sum(pool, field) + weight
    pool.summed[field] = true
  end
end

local function write_sums(pool)
  for field in pairs(pool.summed) do
    if pool.known[field] == 0 then
      redis.call('HDEL', pool.sums, field)
    else
      redis.call('HSET', pool.sums, field, pool.known[field])
    end
  end
end

local function total(pool)
  return sum(pool, 't')
end

-- How a token is called in its pools. Neither ids nor names of pools hold a line feed.
local function member_of(token, names)
  if #names == 1 then
    return token
  end
  return token .. '\n' .. table.concat(names, '\n')
end

local function record_of(pool, member)
  local weight, project, domain, fence, since =
    cmsgpack.unpack(redis.call('HGET', pool.tokens, member))
  return {weight = weight, project = project, domain = domain, fence = fence, since = since}
end

-- `since` where it is granted in passing, to be claimed.
local function hold(pool, member, weight, project, domain, fence, ends, since)
  local record = since and cmsgpack.pack(weight, project, domain, fence, since)
    or cmsgpack.pack(weight, project, domain, fence)
  redis.call('HSET', pool.tokens, member, record)
  redis.call('ZADD', pool.leases, ends, member)
  add(pool, weight, project, domain)
  pool.moved = true
end

local function drop(pool, member, record)
  redis.call('HDEL', pool.tokens, member)
  redis.call('ZREM', pool.leases, member)
  add(pool, -record.weight, record.project, record.domain)
  pool.moved = true
  freed[#freed + 1] = pool
end

local function lapse(pool, member)
  local record = record_of(pool, member)
  drop(pool, member, record)
  if record.since then
    unclaimed = unclaimed + 1
  else
    lost[#lost + 1] = {member, record.fence, pool.name}
  end
end

-- Whether the token is held. One whose lease has ended is dropped, even if it was not reaped; but
-- not in quarantine: nobody can have its units, and its holder could not renew it.
local function held(pool, member)
  local ends = redis.call('ZSCORE', pool.leases, member)
  if not ends then
    return false
  end
  if tonumber(ends) > now or quarantined then
    return true
  end
  lapse(pool, member)
  return false
end

-- Looks at all of them, so that one that has ended is dropped everywhere.
local function held_in_all(names, member)
  local all = true
  for _, name in ipairs(names) do
    all = held(pool_of(name), member) and all
  end
  return all
end

-- Bounded, so that no call pays for a crowd that has left; later calls take the rest.
local left_to_reap = MOST_REAPED
local function reap(pool)
  if quarantined or left_to_reap == 0 then
    return
  end
  local ended = redis.call('ZRANGEBYSCORE', pool.leases, '-inf', now, 'LIMIT', 0, left_to_reap)
  for _, member in ipairs(ended) do
    lapse(pool, member)
  end
  left_to_reap = left_to_reap - #ended
end
