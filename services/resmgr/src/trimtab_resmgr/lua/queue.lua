-- The queues of pools: waiters, their order, their blockers, and which of them are granted.
--
-- The score of a waiter in a pool is its start tag, less its priority times `ageing`. The start tag
-- is the virtual time of the pool or the end of the previous request of the same project, whichever
-- is later (start-time fair queueing). So projects take turns by weight, and a waiter is overtaken
-- by ever fewer of the requests that arrive later. Within a subqueue (one project, domain and
-- priority) the order is that of arrival: only its head may be granted.

local MAX_HEADS_CHECKED = 128  -- heads that one call checks in a pool; the next call continues
local MAX_HEADS_SKIPPED = 8    -- heads at their caps that a reservation skips

-- `Limit` of limits.py has the same numbers.
local QUOTA, PROJECT_CAP, PROJECT_DOMAIN_CAP, INACTIVE = 1, 2, 3, 4
local QUARANTINE, ORDER, RESERVATION, MAX_WEIGHT = 5, 6, 7, 8

local pre_granted = {}  -- waiters granted by this call: id, token, pools, microseconds to claim it
local abandoned = 0     -- waiters that did not repeat their request in time

-- A request: token, project, domain, priority, cap, domain_cap, lease, wait (false: polls),
-- arrival, `asked` (when it was repeated last), place (how long its position is kept), units ({pool,
-- weight, start tag}, …). It is stored packed under its id.
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

-- The member of a waiter in sorted sets. Equal scores are ordered by member, so by arrival.
local function ticket_of(request)
  return string.format('%016.0f', request.arrival) .. request.id
end

local function subqueue_of(pool, request)
  return pool.subqueues .. request.priority .. ':' .. #request.project .. ':' .. request.project
    .. ':' .. request.domain
end

local function find_waiter(id)
  local packed = redis.call('HGET', prefix .. 'asks', id)
  if not packed then
    return nil
  end
  local request = cmsgpack.unpack(packed)
  request.id = id
  return request
end

local function waiter_at(ticket)
  return find_waiter(string.sub(ticket, 17))
end

local function store_request(request)
  local id = request.id
  request.id = nil
  redis.call('HSET', prefix .. 'asks', id, cmsgpack.pack(request))
  request.id = id
end

local function store_waiter(request)
  store_request(request)
  redis.call('ZADD', prefix .. 'patience', now + request.place, request.id)
end

local function insert_ticket(pool, request, unit)
  local ticket, subqueue = ticket_of(request), subqueue_of(pool, request)
  local score = unit[3] - request.priority * rules.ageing
  redis.call('ZADD', pool.waiters, score, ticket)
  redis.call('ZADD', subqueue, request.arrival, ticket)
  local first = redis.call('ZRANGE', subqueue, 0, 1)
  if first[1] == ticket then
    if first[2] then
      redis.call('ZREM', pool.heads, first[2])
    end
    redis.call('ZADD', pool.heads, score, ticket)
  end
end

local function remove_ticket(pool, request)
  local ticket, subqueue = ticket_of(request), subqueue_of(pool, request)
  redis.call('ZREM', pool.waiters, ticket)
  redis.call('ZREM', subqueue, ticket)
  if redis.call('ZREM', pool.heads, ticket) == 1 then
    local successor = redis.call('ZRANGE', subqueue, 0, 0)[1]
    if successor then
      redis.call('ZADD', pool.heads, redis.call('ZSCORE', pool.waiters, successor), successor)
    end
  end
end

local function enqueue(request)
  for _, unit in ipairs(request.units) do
    local pool, project = pool_of(unit[1]), 'p:' .. request.project
    local tags = redis.call('HMGET', pool.tags, 'v', project)
    unit[3] = math.max(tonumber(tags[1] or 0), tonumber(tags[2] or 0))
    redis.call('HSET', pool.tags, project, unit[3] + unit[2])
    insert_ticket(pool, request, unit)
    pool.waiting = pool.waiting + 1
  end
  store_waiter(request)
end

-- Remove a waiter. `granted` advances the virtual time of its pools.
local function dequeue(request, granted)
  for _, unit in ipairs(request.units) do
    local pool, project = pool_of(unit[1]), 'p:' .. request.project
    remove_ticket(pool, request)
    pool.waiting = pool.waiting - 1
    if pool.waiting == 0 then
      redis.call('DEL', pool.tags)
    elseif granted then
      local v = tonumber(redis.call('HGET', pool.tags, 'v') or 0)
      redis.call('HSET', pool.tags, 'v', math.max(v, unit[3]))
    elseif tonumber(redis.call('HGET', pool.tags, project)) == unit[3] + unit[2] then
      -- It was the last of its project: the next one is not charged for units that were not taken.
      redis.call('HSET', pool.tags, project, unit[3])
    end
    freed_pools[#freed_pools + 1] = pool
  end
  redis.call('HDEL', prefix .. 'asks', request.id)
  redis.call('ZREM', prefix .. 'patience', request.id)
end

local function smaller(first, second)
  if first and second then
    return math.min(first, second)
  end
  return first or second
end

-- Append a blocker to `found` where the weight does not fit now. Returns whether it can never fit.
local function check_limit(found, pool, weight, limit, allowed, field)
  if not allowed then
    return false
  end
  local counted = sum_of(pool, field)
  if counted + weight <= allowed then
    return false
  end
  found[#found + 1] = {pool.name, limit, allowed, counted}
  return weight > allowed
end

-- The limits of one pool that block a request: {pool, limit, units it allows, units counted}, …
-- The second result is whether the request exceeds one of them by itself, so that it never fits.
local function exceeded_limits(pool, request, weight)
  local found, limits = {}, pool.limits
  if not limits or not limits[ACTIVE] then
    found[1] = {pool.name, INACTIVE, -1, -1}
  end
  if not limits then
    return found, false
  end
  local never = limits[MAX_WEIGHT_OF] and weight > limits[MAX_WEIGHT_OF]
  if never then
    found[#found + 1] = {pool.name, MAX_WEIGHT, limits[MAX_WEIGHT_OF], 0}
  end
  local names = sum_fields(request.project, request.domain)
  local cap = smaller(limits[PROJECT_CAP_OF], request.cap)
  local domain_cap = smaller(limits[DOMAIN_CAP_OF], request.domain_cap)
  never = check_limit(found, pool, weight, QUOTA, limits[QUOTA_OF], names[1]) or never
  never = check_limit(found, pool, weight, PROJECT_CAP, cap, names[2]) or never
  never = check_limit(found, pool, weight, PROJECT_DOMAIN_CAP, domain_cap, names[3]) or never
  return found, never
end

-- Whether quotas alone block a request, and neither caps nor an inactive pool: released units help.
local function waits_for_units(request)
  local short = false
  for _, unit in ipairs(request.units) do
    for _, blocker in ipairs(exceeded_limits(pool_of(unit[1]), request, unit[2])) do
      if blocker[2] ~= QUOTA then
        return false
      end
      short = true
    end
  end
  return short
end

-- The units of the pool that are reserved against this request: those of the first head that waits
-- for units, once it has waited for `reserve_after`, and only against requests that arrived later.
-- So where several reserve in each other's pools, the oldest goes first.
local function reserved_units(pool, request)
  local heads = redis.call('ZRANGE', pool.heads, 0, MAX_HEADS_SKIPPED - 1)
  for _, ticket in ipairs(heads) do
    local other = waiter_at(ticket)
    if other.id == request.id then
      return 0
    elseif waits_for_units(other) then
      if now - other.arrival < rules.reserve_after or other.arrival > request.arrival then
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

local function is_head(pool, request)
  return not not redis.call('ZSCORE', pool.heads, ticket_of(request))
end

-- Everything that blocks a request; an empty list means that it can be granted. The second result
-- is whether it can never fit. `unqueued` is for a request without a position, of pools without
-- waiters.
local function blockers_of(request, unqueued)
  local found, never = {}, false
  for _, unit in ipairs(request.units) do
    local pool = pool_of(unit[1])
    if quarantined then
      found[#found + 1] = {pool.name, QUARANTINE, -1, -1}
    end
    local exceeded, exceeds_alone = exceeded_limits(pool, request, unit[2])
    never = never or exceeds_alone
    for _, blocker in ipairs(exceeded) do
      found[#found + 1] = blocker
    end
    if not unqueued then
      if not is_head(pool, request) then
        found[#found + 1] = {pool.name, ORDER, -1, -1}
      elseif #exceeded == 0 then
        local reserved, used = reserved_units(pool, request), units_held(pool)
        if reserved > 0 and used + unit[2] + reserved > pool.limits[QUOTA_OF] then
          found[#found + 1] = {pool.name, RESERVATION, reserved, used}
        end
      end
    end
  end
  return found, never
end

-- Store the token of a request and return its fence. `since` is the arrival of a waiter that has to
-- claim the token.
local function grant(request, ends, since)
  local names, fence = names_of(request.units), next_number()
  local member = member_of(request.token, names)
  for _, unit in ipairs(request.units) do
    local pool = pool_of(unit[1])
    store_token(pool, member, unit[2], request.project, request.domain, fence, ends, since)
  end
  return fence
end

-- Grant the waiters of a pool that fit now, in order. A grant can be claimed for as long as the
-- position would have been kept: a waiter that does not repeat its request loses either. Where
-- there are more heads than one call checks, sweeps continue at the cursor (c), and start again (a)
-- if units were freed meanwhile.
local function grant_waiters(pool, sweeping)
  local limits = pool.limits
  if pool.waiting == 0 or quarantined or not limits or not limits[ACTIVE] then
    return
  end
  local rank = sweeping and tonumber(redis.call('HGET', pool.tags, 'c') or 0) or 0
  for _ = 1, MAX_HEADS_CHECKED do
    local ticket = units_held(pool) < limits[QUOTA_OF]
      and redis.call('ZRANGE', pool.heads, rank, rank)[1]
    if not ticket then
      if sweeping and redis.call('HDEL', pool.tags, 'c', 'a') == 2 then
        pool.unfinished = true
      end
      return
    end
    local waiter = waiter_at(ticket)
    if #blockers_of(waiter) == 0 then
      grant(waiter, now + waiter.place, waiter.arrival)
      dequeue(waiter, true)
      pre_granted[#pre_granted + 1] =
        {waiter.id, waiter.token, names_of(waiter.units), waiter.place}
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

-- Grant waiters in every pool whose units or queue changed, until nothing changes any more.
local function grant_freed()
  while #freed_pools > 0 do
    grant_waiters(table.remove(freed_pools))
  end
end
