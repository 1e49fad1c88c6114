-- Read the use of pools, and what blocks the first waiter of each.
--
-- ARGV[2]: their names in JSON
-- Returns the microseconds of quarantine; for each pool: units held, number of holders, number of
--   waiters, 1 where its limits are stored, and where there is a first waiter: microseconds since
--   which it is the first, the units that all waiters request, and each of its blockers as in
--   requests.lua, followed by what that is: the token of the holder whose lease ends first, the
--   scope of a cap, the token that units are reserved for, or the pool in which others come first

local MAX_SUMMED = 1000  -- waiters of a queue that an earlier release began

local function demand_of(pool)
  local stored = redis.call('HGET', pool.tags, 'w')
  if stored then
    return tonumber(stored)
  end
  local sum = 0
  for _, ticket in ipairs(redis.call('ZRANGE', pool.waiters, 0, MAX_SUMMED - 1)) do
    local waiter = waiter_at(ticket)
    sum = sum + (waiter and weight_in(pool, waiter) or 0)
  end
  return sum
end

local function source_of(blocker, waiter)
  local pool, limit = pool_of(blocker[1]), blocker[2]
  if limit == QUOTA then
    return redis.call('ZRANGE', pool.leases, 0, 0)[1] or ''
  elseif limit == PROJECT_CAP then
    return waiter.project
  elseif limit == PROJECT_DOMAIN_CAP then
    return waiter.project .. '/' .. waiter.domain
  elseif limit == RESERVATION then
    return select(2, reserved_units(pool, waiter)) or ''
  elseif limit == ORDER then
    return pool.name
  end
  return ''
end

local function first_waiter(pool)
  local ticket = redis.call('ZRANGE', pool.waiters, 0, 0)[1]
  local waiter = ticket and waiter_at(ticket)
  if not waiter then
    return {}
  end
  local first, since = unpack(redis.call('HMGET', pool.tags, 'f', 's'))
  local blockers = (blockers_of(waiter))
  for _, blocker in ipairs(blockers) do
    blocker[5] = source_of(blocker, waiter)
  end
  local began = first == ticket and tonumber(since) or waiter.arrival
  return {math.max(0, now - began), demand_of(pool), blockers}
end

local found = {}
for at, name in ipairs(cjson.decode(ARGV[2])) do
  local pool = pool_of(name)
  local holders = redis.call('ZCARD', pool.leases)
  local known = pool.limits and 1 or 0
  found[at] = {units_held(pool), holders, pool.waiting, known, first_waiter(pool)}
end
return {quarantined and quarantine_end - now or 0, found}
