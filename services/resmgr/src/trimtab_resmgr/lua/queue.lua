-- The queues of pools: waiters, their order, their blockers, and which of them are granted.
--
-- The score of a waiter in a pool is its start tag, less its priority times `ageing`. The start tag
-- is the virtual time of the pool or the end of the previous request of the same project, whichever
-- is later (start-time fair queueing). So projects take turns by weight, and a waiter is overtaken
-- by ever fewer of the requests that arrive later. Within a subqueue (one project, domain and
-- priority) the order is that of arrival: only its head may be granted.

local MAX_HEADS_CHECKED = 128  -- heads that one call checks in a pool; the next call continues

-- `Limit` of limits.py has the same numbers.
local QUOTA, PROJECT_CAP, PROJECT_DOMAIN_CAP, INACTIVE = 1, 2, 3, 4
local QUARANTINE, ORDER, RESERVATION, MAX_WEIGHT = 5, 6, 7, 8

local reads_only = true  -- whether the script changes nothing
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

-- Heads that a cap blocks are set aside, so that no number of them is between the reservation and
-- the waiter that it is for. A head is returned when the cap may allow more: units that the cap
-- counts were freed, the limits of the pool changed, or the head was requested with other caps.

-- `cap` is what blocks it: a pool, a line feed, and the field of the pool's sums that the cap limits.
-- No name contains a line feed, except for tickets.
local function set_aside(pool, ticket, cap)
  redis.call('ZREM', pool.ready, ticket)
  redis.call('HSET', pool.capped, ticket, cap)
  redis.call('ZADD', prefix .. 'capped', 0, cap .. '\n' .. pool.name .. '\n' .. ticket)
end

local function remove_head(pool, ticket)
  redis.call('ZREM', pool.heads, ticket)
  if redis.call('ZREM', pool.ready, ticket) == 0 then
    local cap = redis.call('HGET', pool.capped, ticket)
    if cap then
      redis.call('HDEL', pool.capped, ticket)
      redis.call('ZREM', prefix .. 'capped', cap .. '\n' .. pool.name .. '\n' .. ticket)
    end
  end
end

local function forget_capped(pool)
  for _, ticket in ipairs(redis.call('HKEYS', pool.capped)) do
    remove_head(pool, ticket)
  end
end

local function add_head(pool, ticket, score)
  redis.call('ZADD', pool.heads, score, ticket)
  redis.call('ZADD', pool.ready, score, ticket)
end

-- Return a head that was set aside, or that a replica of an earlier release has added.
local function return_head(pool, ticket)
  if not redis.call('ZSCORE', pool.ready, ticket) then
    local score = redis.call('ZSCORE', pool.heads, ticket)
    if score then
      remove_head(pool, ticket)
      add_head(pool, ticket, score)
    end
  end
end

-- Return the heads that caps with this beginning block. Each is also a head of the pool that the cap
-- limits, whose waiters are granted in order because it was freed.
local function return_capped(beginning)
  local first, last_one = '[' .. beginning, '(' .. beginning .. '\255'
  for _, entry in ipairs(redis.call('ZRANGEBYLEX', prefix .. 'capped', first, last_one)) do
    local name, ticket = string.match(entry, '^[^\n]*\n[^\n]*\n([^\n]*)\n(.*)$')
    local pool = pool_of(name)
    redis.call('ZREM', prefix .. 'capped', entry)
    redis.call('HDEL', pool.capped, ticket)
    local score = redis.call('ZSCORE', pool.heads, ticket)
    if score then
      redis.call('ZADD', pool.ready, score, ticket)
    end
  end
end

local function return_freed()
  if not next(freed_caps) then
    return
  end
  local caps = freed_caps
  freed_caps = {}
  if redis.call('EXISTS', prefix .. 'capped') == 1 then
    for cap in pairs(caps) do
      return_capped(cap .. '\n')
    end
  end
end

-- The units that a waiter requests of one of its pools.
local function weight_in(pool, waiter)
  for _, unit in ipairs(waiter.units) do
    if unit[1] == pool.name then
      return unit[2]
    end
  end
end

local function insert_ticket(pool, request, unit)
  local ticket, subqueue = ticket_of(request), subqueue_of(pool, request)
  local score = unit[3] - request.priority * rules.ageing
  redis.call('ZADD', pool.waiters, score, ticket)
  redis.call('ZADD', subqueue, request.arrival, ticket)
  pool.queue_changed = true
  local first = redis.call('ZRANGE', subqueue, 0, 1)
  if first[1] == ticket then
    if first[2] then
      remove_head(pool, first[2])
    end
    add_head(pool, ticket, score)
  end
end

local function remove_ticket(pool, request)
  local ticket, subqueue = ticket_of(request), subqueue_of(pool, request)
  redis.call('ZREM', pool.waiters, ticket)
  redis.call('ZREM', subqueue, ticket)
  pool.queue_changed = true
  if redis.call('ZSCORE', pool.heads, ticket) then
    remove_head(pool, ticket)
    local successor = redis.call('ZRANGE', subqueue, 0, 0)[1]
    if successor then
      add_head(pool, successor, redis.call('ZSCORE', pool.waiters, successor))
    end
  end
end

-- Add to the units that the waiters of a pool request. `write_queue` stores the sum.
local function add_to_demand(pool, weight)
  if pool.waiting == 0 then
    pool.demand_added, pool.begins_queue = 0, true
  end
  pool.demand_added = (pool.demand_added or 0) + weight
end

local function write_queue(pool)
  if not pool.queue_changed or pool.waiting == 0 then
    return
  end
  local added = pool.demand_added or 0
  if pool.begins_queue or added ~= 0 and redis.call('HEXISTS', pool.tags, 'w') == 1 then
    redis.call('HINCRBY', pool.tags, 'w', added)
  end
  local first = redis.call('ZRANGE', pool.waiters, 0, 0)[1]
  if first ~= redis.call('HGET', pool.tags, 'f') then
    redis.call('HSET', pool.tags, 'f', first, 's', now)
  end
end

local function enqueue(request)
  for _, unit in ipairs(request.units) do
    local pool, project = pool_of(unit[1]), 'p:' .. request.project
    local tags = redis.call('HMGET', pool.tags, 'v', project)
    unit[3] = math.max(tonumber(tags[1] or 0), tonumber(tags[2] or 0))
    redis.call('HSET', pool.tags, project, unit[3] + unit[2])
    insert_ticket(pool, request, unit)
    add_to_demand(pool, unit[2])
    pool.waiting = pool.waiting + 1
  end
  store_waiter(request)
end

-- Remove a waiter. `granted` advances the virtual time of its pools.
local function dequeue(request, granted)
  for _, unit in ipairs(request.units) do
    local pool, project = pool_of(unit[1]), 'p:' .. request.project
    remove_ticket(pool, request)
    add_to_demand(pool, -unit[2])
    pool.waiting = pool.waiting - 1
    if pool.waiting == 0 then
      redis.call('DEL', pool.tags, pool.ready)
      forget_capped(pool)  -- A replica of an earlier release may have left some.
    elseif granted then
      local v = tonumber(redis.call('HGET', pool.tags, 'v') or 0)
      redis.call('HSET', pool.tags, 'v', math.max(v, unit[3]))
    elseif tonumber(redis.call('HGET', pool.tags, project)) == unit[3] + unit[2] then
      -- It was the last of its project: the next one is not charged for units that were not taken.
      redis.call('HSET', pool.tags, project, unit[3])
    end
    mark_freed(pool)
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

-- The cap that a blocker is, as `set_aside` stores it; nil where it is a quota that released units
-- help with. What only a change of limits can help with has a field of no sum.
local function cap_of(blocker, request, weight)
  local name, limit, allowed = blocker[1], blocker[2], blocker[3]
  local fields = sum_fields(request.project, request.domain)
  if limit == QUOTA and weight <= allowed then
    return nil
  elseif limit == PROJECT_CAP then
    return name .. '\n' .. fields[2]
  elseif limit == PROJECT_DOMAIN_CAP then
    return name .. '\n' .. fields[3]
  end
  return name .. '\nlimits'
end

-- The units that a request is short of in any pool, and in this one; and the cap that blocks it.
local function shortage_of(request, here)
  local short, short_here = false, false
  for _, unit in ipairs(request.units) do
    local pool = pool_of(unit[1])
    for _, blocker in ipairs(exceeded_limits(pool, request, unit[2])) do
      local cap = cap_of(blocker, request, unit[2])
      if cap then
        return false, false, cap
      end
      short, short_here = true, short_here or pool == here
    end
  end
  return short, short_here, nil
end

-- Whether the units of a waiter are reserved now in a pool that has enough of them, while it waits
-- for another pool: in turns, so that no pool is idle for long, and the waiter gets its chances.
local function is_its_turn(waiter)
  local waited = now - waiter.arrival - rules.reserve_after
  return math.floor(waited / rules.reserve_idle) % 2 == 0
end

-- The units of the pool that are reserved against this request, and the token that they are for:
-- those of the first head that waits for units, once it has waited for `reserve_after`, and only
-- against requests that arrived later. So where several reserve in each other's pools, the oldest
-- goes first.
local function reserved_units(pool, request)
  return_freed()
  local rank = 0
  while true do
    local ticket = redis.call('ZRANGE', pool.ready, rank, rank)[1]
    local other = ticket and waiter_at(ticket)
    if not ticket or other and other.id == request.id then
      return 0
    end
    local short, short_here, cap
    if other then
      short, short_here, cap = shortage_of(other, pool)
    end
    if not other and not reads_only then
      redis.call('ZREM', pool.ready, ticket)  -- A replica of an earlier release removed it.
    elseif cap and not reads_only then
      set_aside(pool, ticket, cap)
    elseif short and (short_here or is_its_turn(other)) then
      if now - other.arrival < rules.reserve_after or other.arrival > request.arrival then
        return 0
      end
      return weight_in(pool, other), other.token
    else
      rank = rank + 1
    end
  end
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
        local reserved, used = (reserved_units(pool, request)), units_held(pool)
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
  local names, fence = names_of(request.units), next_fence()
  local member = member_of(request.token, names)
  for _, unit in ipairs(request.units) do
    local pool = pool_of(unit[1])
    store_token(pool, member, unit[2], request.project, request.domain, fence, ends, since)
  end
  return fence
end

-- How long a grant waits to be claimed: as long as the position would have been kept, but no longer
-- than a lease and the grace, after which the units of a holder that has ended are free.
local function time_to_claim(waiter)
  return math.min(waiter.place, waiter.lease + rules.grace)
end

local grant_waiters

-- Grant the waiters of the other pools of this waiter first, where units were freed too: one that
-- comes before it there gets the units that both need. Returns whether there was such a pool. A
-- pool whose waiters are being granted is left out, so where each of two waiters is the first in
-- another pool, one of them is granted.
local function grant_elsewhere(waiter)
  local found = false
  for _, unit in ipairs(waiter.units) do
    local pool = pool_of(unit[1])
    if pool.freed and not pool.granting then
      grant_waiters(pool)
      found = true
    end
  end
  return found
end

local function grant_in_order(pool, sweeping)
  local limits = pool.limits
  if pool.waiting == 0 or quarantined or not limits or not limits[ACTIVE] then
    return
  end
  return_freed()
  local rank = sweeping and tonumber(redis.call('HGET', pool.tags, 'c') or 0) or 0
  for _ = 1, MAX_HEADS_CHECKED do
    local ticket = units_held(pool) < limits[QUOTA_OF]
      and redis.call('ZRANGE', pool.ready, rank, rank)[1]
    if not ticket then
      if sweeping and redis.call('HDEL', pool.tags, 'c', 'a') == 2 then
        pool.unfinished = true
      end
      return
    end
    local waiter = waiter_at(ticket)
    if not waiter then
      redis.call('ZREM', pool.ready, ticket)  -- A replica of an earlier release removed it.
    elseif #blockers_of(waiter) > 0 then
      local cap = select(3, shortage_of(waiter, pool))
      if cap then
        set_aside(pool, ticket, cap)
      end
      rank = (redis.call('ZRANK', pool.ready, ticket) or rank - 1) + 1
    elseif grant_elsewhere(waiter) then
      rank = redis.call('ZRANK', pool.ready, ticket) or rank
    else
      local claim_time = time_to_claim(waiter)
      grant(waiter, now + claim_time, waiter.arrival)
      dequeue(waiter, true)
      pre_granted[#pre_granted + 1] = {waiter.id, waiter.token, names_of(waiter.units), claim_time}
    end
  end
  pool.unfinished = true
  if sweeping then
    redis.call('HSET', pool.tags, 'c', rank)
  elseif redis.call('HSETNX', pool.tags, 'c', rank) == 0 then
    redis.call('HSET', pool.tags, 'a', 1)
  end
end

-- Grant the waiters of a pool that fit now, in order. Where there are more heads than one call
-- checks, sweeps continue at the cursor (c), and start again (a) if units were freed meanwhile.
function grant_waiters(pool, sweeping)
  pool.freed, pool.granting = false, true
  grant_in_order(pool, sweeping)
  pool.granting = false
end

-- Grant waiters in every pool whose units or queue changed, until nothing changes any more.
local function grant_freed()
  while #freed_pools > 0 do
    local pool = table.remove(freed_pools)
    if pool.freed then
      grant_waiters(pool)
    end
  end
end
