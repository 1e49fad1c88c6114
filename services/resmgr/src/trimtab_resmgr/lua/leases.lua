-- Held tokens: leases, the sums of their units, and how leases end.

local MAX_REAPED = 64

local lost = {}         -- tokens whose lease expired or that an admin released: token, fence, pool
local unclaimed = 0     -- pre-granted tokens that were not claimed in time
local freed_pools = {}  -- pools in which a waiter may fit now, if `freed` of the pool is still set
local freed_caps = {}   -- a set: pool, line feed, field of `sums` of each cap that may allow more now

local function mark_freed(pool)
  if not pool.freed then
    pool.freed = true
    freed_pools[#freed_pools + 1] = pool
  end
end

-- The fields of a pool's sums: all units, those of the project, those of the project in the domain.
-- Each is built once in a call, because building strings takes most of a script's time.
local field_cache = {}
local function sum_fields(project, domain)
  local of_project = field_cache[project]
  if not of_project then
    of_project = {}
    field_cache[project] = of_project
  end
  local found = of_project[domain]
  if not found then
    -- The length distinguishes "a:b" in "c" from "a" in "b:c".
    found = {'t', 'p:' .. project, 'd:' .. #project .. ':' .. project .. ':' .. domain}
    of_project[domain] = found
  end
  return found
end

-- A sum is read once in a call, and written once by `write_sums`.
local function sum_of(pool, field)
  local found = pool.cached_sums[field]
  if not found then
    found = tonumber(redis.call('HGET', pool.sums, field) or 0)
    pool.cached_sums[field] = found
  end
  return found
end

local function add_to_sums(pool, weight, project, domain)
  for _, field in ipairs(sum_fields(project, domain)) do
    pool.cached_sums[field] = sum_of(pool, field) + weight
    pool.changed_sums[field] = true
  end
end

local function write_sums(pool)
  for field in pairs(pool.changed_sums) do
    if pool.cached_sums[field] == 0 then
      redis.call('HDEL', pool.sums, field)
    else
      redis.call('HSET', pool.sums, field, pool.cached_sums[field])
    end
  end
end

local function units_held(pool)
  return sum_of(pool, 't')
end

-- The name of a token in the keys of its pools. Neither ids nor names of pools contain a line feed.
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

-- Store a token and its lease. `since` is the time of the first request of a pre-granted token, and
-- nil for one that its holder has.
local function store_token(pool, member, weight, project, domain, fence, ends, since)
  local record = since and cmsgpack.pack(weight, project, domain, fence, since)
    or cmsgpack.pack(weight, project, domain, fence)
  redis.call('HSET', pool.tokens, member, record)
  redis.call('ZADD', pool.leases, ends, member)
  add_to_sums(pool, weight, project, domain)
  pool.leases_changed = true
end

local function delete_token(pool, member, record)
  redis.call('HDEL', pool.tokens, member)
  redis.call('ZREM', pool.leases, member)
  add_to_sums(pool, -record.weight, record.project, record.domain)
  if pool.waiting > 0 then
    local fields = sum_fields(record.project, record.domain)
    freed_caps[pool.name .. '\n' .. fields[2]] = true
    freed_caps[pool.name .. '\n' .. fields[3]] = true
  end
  pool.leases_changed = true
  mark_freed(pool)
end

local function expire(pool, member)
  local record = record_of(pool, member)
  delete_token(pool, member, record)
  if record.since then
    unclaimed = unclaimed + 1
  else
    lost[#lost + 1] = {member, record.fence, pool.name}
  end
end

-- Whether the token is held. A token whose lease has ended is deleted, even if `reap` has not
-- reached it. In quarantine it stays: its units are not granted, and its holder could not renew it.
local function is_held(pool, member)
  local ends = redis.call('ZSCORE', pool.leases, member)
  if not ends then
    return false
  end
  if tonumber(ends) > now or quarantined then
    return true
  end
  expire(pool, member)
  return false
end

-- Whether the token is held in all of its pools. Checks each, so that it expires in all of them.
local function is_held_in_all(names, member)
  local all = true
  for _, name in ipairs(names) do
    all = is_held(pool_of(name), member) and all
  end
  return all
end

-- Delete tokens whose leases have ended. At most 64 in a call, so that no call pays for a crowd of
-- them; later calls delete the rest.
local left_to_reap = MAX_REAPED
local function reap(pool)
  if quarantined or left_to_reap == 0 then
    return
  end
  local ended = redis.call('ZRANGEBYSCORE', pool.leases, '-inf', now, 'LIMIT', 0, left_to_reap)
  for _, member in ipairs(ended) do
    expire(pool, member)
  end
  left_to_reap = left_to_reap - #ended
end
