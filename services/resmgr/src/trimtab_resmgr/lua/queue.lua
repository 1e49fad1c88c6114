-- Who waits, in which order, for what, and who goes next.
--
-- A request's score in a pool is its start tag, less its priority in steps of ageing. The start tag
-- is the virtual time of the pool or the end of its project's request before it, whichever is later;
-- so projects take turns by weight, and who waits is overtaken by ever fewer of those who come.
-- Within a line (one project, domain and priority) nobody overtakes: only its head may go.

local MOST_LOOKED = 128   -- heads that one call looks at in a pool; the next one goes on
local MOST_SKIPPED = 8    -- heads at their caps that a reservation looks past

local QUOTA, PROJECT, PROJECT_DOMAIN, INACTIVE = 1, 2, 3, 4
local QUARANTINE, ORDER, RESERVATION, MAX_WEIGHT = 5, 6, 7, 8

local woken = {}     -- tickets granted in passing: token, pools, microseconds to claim it
local dropped = 0    -- requests that were not asked again in time

-- An ask: token, project, domain, priority, cap, domain_cap, lease, wait (false: polls), arrival,
-- asked (last), place (how long it is kept), units ({pool, weight, start tag}, …).
local function names_of(units)
  local names = {}
  for at, unit in ipairs(units) do
    names[at] = unit[1]
  end
  return names
end

local function id_of(token, names)
  return table.concat(names, '\n') .. '\n' .. token
end

local function ticket_of(ask)
  return string.format('%016.0f', ask.arrival) .. ask.id
end

local function line_of(pool, ask)
  return pool.line .. ask.priority .. ':' .. #ask.project .. ':' .. ask.project .. ':' .. ask.domain
end

local function find(id)
  local packed = redis.call('HGET', prefix .. 'asks', id)
  if not packed then
    return nil
  end
  local ask = cmsgpack.unpack(packed)
  ask.id = id
  return ask
end

local function ask_at(ticket)
  return find(string.sub(ticket, 17))
end

local function keep(ask)
  local id = ask.id
  ask.id = nil
  redis.call('HSET', prefix .. 'asks', id, cmsgpack.pack(ask))
  ask.id = id
  redis.call('ZADD', prefix .. 'patience', now + ask.place, id)
end

local function line_up(pool, ask, unit)
  local ticket, line = ticket_of(ask), line_of(pool, ask)
  local score = unit[3] - ask.priority * rules.ageing
  redis.call('ZADD', pool.waiters, score, ticket)
  redis.call('ZADD', line, ask.arrival, ticket)
  local first = redis.call('ZRANGE', line, 0, 1)
  if first[1] == ticket then
    if first[2] then
      redis.call('ZREM', pool.heads, first[2])
    end
    redis.call('ZADD', pool.heads, score, ticket)
  end
end

local function step_out(pool, ask)
  local ticket, line = ticket_of(ask), line_of(pool, ask)
  redis.call('ZREM', pool.waiters, ticket)
  redis.call('ZREM', line, ticket)
  if redis.call('ZREM', pool.heads, ticket) == 1 then
    local follower = redis.call('ZRANGE', line, 0, 0)[1]
    if follower then
      redis.call('ZADD', pool.heads, redis.call('ZSCORE', pool.waiters, follower), follower)
    end
  end
end

local function enqueue(ask)
  for _, unit in ipairs(ask.units) do
    local pool, project = pool_of(unit[1]), 'p:' .. ask.project
    local tags = redis.call('HMGET', pool.tags, 'v', project)
    unit[3] = math.max(tonumber(tags[1] or 0), tonumber(tags[2] or 0))
    redis.call('HSET', pool.tags, project, unit[3] + unit[2])
    line_up(pool, ask, unit)
    pool.waiting = pool.waiting + 1
  end
  keep(ask)
end

-- `served` where it got what it waited for, which moves the virtual time.
local function dequeue(ask, served)
  for _, unit in ipairs(ask.units) do
    local pool, project = pool_of(unit[1]), 'p:' .. ask.project
    step_out(pool, ask)
    pool.waiting = pool.waiting - 1
    if pool.waiting == 0 then
      redis.call('DEL', pool.tags)
    elseif served then
      local v = tonumber(redis.call('HGET', pool.tags, 'v') or 0)
      redis.call('HSET', pool.tags, 'v', math.max(v, unit[3]))
    elseif tonumber(redis.call('HGET', pool.tags, project)) == unit[3] + unit[2] then
      -- It was the last of its project: who follows is not to pay for what it did not take.
      redis.call('HSET', pool.tags, project, unit[3])
    end
    freed[#freed + 1] = pool
  end
  redis.call('HDEL', prefix .. 'asks', ask.id)
  redis.call('ZREM', prefix .. 'patience', ask.id)
end

local function least(first, second)
  if first and second then
    return math.min(first, second)
  end
  return first or second
end

-- Whether it can never fit, and its line in `found` where it does not fit now.
local function exceeds(found, pool, weight, limit, allowed, field)
  if not allowed then
    return false
  end
  local counted = sum(pool, field)
  if counted + weight <= allowed then
    return false
  end
  found[#found + 1] = {pool.name, limit, allowed, counted}
  return weight > allowed
end

-- What of the pool's own is in the way: {pool, limit, units it allows, units it counts}, …
-- The second result tells whether nothing but time can help: it can never fit.
local function limited_by(pool, ask, weight)
  local found, limits = {}, pool.limits
  if not limits or not limits[ACTIVE] then
    found[1] = {pool.name, INACTIVE, -1, -1}
  end
  if not limits then
    return found, false
  end
  local never = limits[MOST] and weight > limits[MOST]
  if never then
    found[#found + 1] = {pool.name, MAX_WEIGHT, limits[MOST], 0}
  end
  local names = fields(ask.project, ask.domain)
  local cap, domain_cap = least(limits[CAP], ask.cap), least(limits[DOMAIN_CAP], ask.domain_cap)
  never = exceeds(found, pool, weight, QUOTA, limits[QUOTA_OF], names[1]) or never
  never = exceeds(found, pool, weight, PROJECT, cap, names[2]) or never
  never = exceeds(found, pool, weight, PROJECT_DOMAIN, domain_cap, names[3]) or never
  return found, never
end

-- Whether it waits for units that others will give back, and not for its own caps or a switch.
local function waits_for_room(ask)
  local short = false
  for _, unit in ipairs(ask.units) do
    for _, blocker in ipairs(limited_by(pool_of(unit[1]), ask, unit[2])) do
      if blocker[2] ~= QUOTA then
        return false
      end
      short = true
    end
  end
  return short
end

-- Units of the pool that are kept from this ask: those for the first head that waits for room, once
-- it is ripe, and only from those who came after it. So of several that reserve in each other's
-- pools the oldest goes first.
local function reserved(pool, ask)
  local heads = redis.call('ZRANGE', pool.heads, 0, MOST_SKIPPED - 1)
  for _, ticket in ipairs(heads) do
    local other = ask_at(ticket)
    if other.id == ask.id then
      return 0
    elseif waits_for_room(other) then
      if now - other.arrival < rules.ripe or other.arrival > ask.arrival then
        return 0
      end
      for _, unit in ipairs(other.units) do
        if unit[1] == pool.name then
          return unit[2]
        end
      end
    end
  end
  return 0
end

local function is_head(pool, ask)
  return not not redis.call('ZSCORE', pool.heads, ticket_of(ask))
end

-- Everything that is in the way of an ask; nothing, and it may have what it wants. `new` for one
-- that has no place, of a pool where nobody waits.
local function hindrances(ask, new)
  local found, never = {}, false
  for _, unit in ipairs(ask.units) do
    local pool = pool_of(unit[1])
    if quarantined then
      found[#found + 1] = {pool.name, QUARANTINE, -1, -1}
    end
    local limits, hopeless = limited_by(pool, ask, unit[2])
    never = never or hopeless
    for _, blocker in ipairs(limits) do
      found[#found + 1] = blocker
    end
    if not new then
      if not is_head(pool, ask) then
        found[#found + 1] = {pool.name, ORDER, -1, -1}
      elseif #limits == 0 then
        local kept, used = reserved(pool, ask), total(pool)
        if kept > 0 and used + unit[2] + kept > pool.limits[QUOTA_OF] then
          found[#found + 1] = {pool.name, RESERVATION, kept, used}
        end
      end
    end
  end
  return found, never
end

-- `since` where it has to be claimed, with the place that it had.
local function grant(ask, ends, since)
  local names, fence = names_of(ask.units), next_number()
  local member = member_of(ask.token, names)
  for _, unit in ipairs(ask.units) do
    hold(pool_of(unit[1]), member, unit[2], ask.project, ask.domain, fence, ends, since)
  end
  return fence
end

-- Grant whatever can be granted now to those who wait, in order. A claim lasts as long as the place
-- would have: whoever does not ask again has lost either. Where there are more heads than one call
-- looks at, sweeps go on from the cursor (c); again (a), where units came back meanwhile.
local function advance(pool, sweeping)
  local limits = pool.limits
  if pool.waiting == 0 or quarantined or not limits or not limits[ACTIVE] then
    return
  end
  local rank = sweeping and tonumber(redis.call('HGET', pool.tags, 'c') or 0) or 0
  for _ = 1, MOST_LOOKED do
    local ticket = total(pool) < limits[QUOTA_OF] and redis.call('ZRANGE', pool.heads, rank, rank)[1]
    if not ticket then
      if sweeping and redis.call('HDEL', pool.tags, 'c', 'a') == 2 then
        pool.unfinished = true
      end
      return
    end
    local ask = ask_at(ticket)
    if #hindrances(ask) == 0 then
      grant(ask, now + ask.place, ask.arrival)
      dequeue(ask, true)
      woken[#woken + 1] = {ask.id, ask.token, names_of(ask.units), ask.place}
    else
      rank = rank + 1
    end
  end
  pool.unfinished = true
  if sweeping then
    redis.call('HSET', pool.tags, 'c', rank)
  elseif redis.call('HSETNX', pool.tags, 'c', rank) == 0 then
    redis.call('HSET', pool.tags, 'a', 1)
  end
end

-- Let go next whoever can, until nothing moves.
local function settle()
  while #freed > 0 do
    advance(table.remove(freed))
  end
end
