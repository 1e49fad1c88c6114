-- Process all requests of one tick of a replica, in order.
--
-- ARGV[2]: [[pool, limits], …] in JSON, as this replica knows them; ARGV[3]: [[operation, …], …];
-- ARGV[4]: the time until which allocations are processed, or nothing where that is not known.
-- Names of pools are sorted; absent values are false. Returns
--   a reply for each request; each function describes its own
--   {token, pools, microseconds to claim it} of each waiter that was granted
--   {token as in its pools, fence, pool} of each token that was lost
--   the numbers of unclaimed grants and of abandoned waiters
--   {pool, units held, number of waiters} of each pool that the call used
--   1 in quarantine
--   the time

-- `AllocationReply` and `_RENEWED` of encoding.py have the same numbers.
local GRANTED, WAITING, REFUSED, NEVER_FITS, TIMED_OUT, LATE = 0, 1, 2, 3, 4, 5
local HELD, LOST, REASSERT, GRANTED_AGAIN = 0, 1, 2, 3
local MAX_ABANDONED = 64
local MAX_SWEPT = 64
local MAX_FORCED = 1000
local MAX_FENCE_AHEAD = 5000000  -- microseconds

reads_only = false

-- After this time the caller of an allocation in this call has repeated it, and may have released
-- the token already: the new grant would have no holder.
local deadline = tonumber(ARGV[4])

local function extend_lease(names, member, lease)
  for _, name in ipairs(names) do
    redis.call('ZADD', pool_of(name).leases, now + lease + rules.grace, member)
  end
end

-- Turn a pre-granted token into a held one. Returns how long its request waited.
local function claim(names, member, record)
  for _, name in ipairs(names) do
    local pool = pool_of(name)
    local own = record_of(pool, member)
    local packed = cmsgpack.pack(own.weight, own.project, own.domain, own.fence)
    redis.call('HSET', pool.tokens, member, packed)
    pool.leases_changed = true
  end
  return now - record.since
end

-- The worst position of a waiter in its pools.
local function position_of(request)
  local worst = 0
  for _, unit in ipairs(request.units) do
    local rank = redis.call('ZRANK', pool_of(unit[1]).waiters, ticket_of(request))
    worst = math.max(worst, rank + 1)
  end
  return worst
end

-- {status, units held, fence, microseconds waited, position, microseconds to retry, blockers…}
local function allocation_reply(status, request, fence, waited, retry_after, blockers)
  local reply = {status, units_held(pool_of(request.units[1][1])), fence, waited, 0, retry_after}
  if status == WAITING then
    reply[5] = position_of(request)
  end
  for _, blocker in ipairs(blockers or {}) do
    reply[#reply + 1] = blocker
  end
  return reply
end

-- {{project, domain, {pool, weight}, …}} where a held token differs from what is requested, or nil
local function held_otherwise(request, member)
  local differs, found = false, nil
  for _, unit in ipairs(request.units) do
    local own = record_of(pool_of(unit[1]), member)
    found = found or {own.project, own.domain}
    found[#found + 1] = {unit[1], own.weight}
    differs = differs or own.weight ~= unit[2] or own.project ~= request.project
      or own.domain ~= request.domain
  end
  return differs and {found} or nil
end

local function grant_held(request, names, member)
  extend_lease(names, member, request.lease)
  local record = record_of(pool_of(names[1]), member)
  local waited = -1
  if record.since then
    waited = claim(names, member, record)
    pre_granted[request.id] = true  -- This reply informs the caller, so that no hint is needed.
  end
  return allocation_reply(GRANTED, request, record.fence, waited, 0, held_otherwise(request, member))
end

-- How long the position of a waiter is kept. The pace of a poller is learned from its requests.
local function keep_time(request)
  if request.wait then
    return rules.keep_waiter
  elseif request.asked == now then
    return rules.keep_poller
  end
  local learned = math.max(rules.keep_waiter, 3 * (now - request.asked))
  return math.min(learned, 2 * rules.keep_poller)
end

-- Whether two requests have the same scope and weights. A priority may have been changed since the
-- first request, and stays changed.
local function is_same(one, other)
  if one.project ~= other.project or one.domain ~= other.domain then
    return false
  end
  for at, unit in ipairs(one.units) do
    if unit[2] ~= other.units[at][2] then
      return false
    end
  end
  return true
end

-- Update a waiter with its repeated request and return it, or nil where its `wait` is over.
local function refresh(waiter, request)
  if request.wait and now - waiter.arrival >= request.wait then
    dequeue(waiter)
    return nil
  end
  waiter.cap, waiter.domain_cap = request.cap, request.domain_cap
  waiter.lease, waiter.wait = request.lease, request.wait
  waiter.place = keep_time(waiter)
  waiter.asked = now
  store_waiter(waiter)
  for _, unit in ipairs(waiter.units) do
    return_head(pool_of(unit[1]), ticket_of(waiter))  -- It may have other caps now.
  end
  return waiter
end

local function enqueue_new(request)
  request.arrival = next_arrival()
  request.asked = now
  request.place = keep_time(request)
  enqueue(request)
  return request
end

-- Grant a request by way of the queue, or let it wait. The arrival of a request lets no other
-- waiter fit: those that fit have been granted before.
local function queue(request)
  local known = find_waiter(request.id)
  if known and not (is_same(known, request) and request.wait ~= 0) then
    dequeue(known)
    grant_freed()
    known = nil
  end
  local waited = known and now - known.arrival or -1
  local waiter = known and refresh(known, request) or not known and enqueue_new(request)
  if not waiter then
    grant_freed()
    return {TIMED_OUT, 0, 0, waited, 0, 0}
  end
  local blockers, reply = blockers_of(waiter), nil
  if #blockers == 0 then
    local fence = grant(waiter, now + waiter.lease + rules.grace)
    dequeue(waiter, true)
    reply = allocation_reply(GRANTED, waiter, fence, waited, 0)
  elseif waiter.wait == 0 then
    dequeue(waiter)
    reply = allocation_reply(REFUSED, waiter, 0, -1, 0, blockers)
  else
    local waited_now = math.max(0, now - waiter.arrival)
    reply = allocation_reply(WAITING, waiter, 0, waited_now, time_to_claim(waiter), blockers)
  end
  grant_freed()
  return reply
end

local function allocate(token, units, project, domain, priority, cap, domain_cap, lease, wait)
  if deadline and now > deadline then
    return {LATE, 0, 0, -1, 0, 0}
  end
  local names = names_of(units)
  local request = {
    id = id_of(token, names), token = token, units = units, project = project, domain = domain,
    priority = priority, cap = cap, domain_cap = domain_cap, lease = lease, wait = wait,
  }
  local member = member_of(token, names)
  if is_held_in_all(names, member) then
    return grant_held(request, names, member)
  end
  grant_freed()
  local no_waiters = true
  for _, name in ipairs(names) do
    no_waiters = no_waiters and pool_of(name).waiting == 0
  end
  local blockers, never = blockers_of(request, true)
  if never then
    local known = find_waiter(request.id)
    if known then
      dequeue(known)
      grant_freed()
    end
    return allocation_reply(NEVER_FITS, request, 0, -1, 0, blockers)
  end
  if no_waiters and #blockers == 0 then
    local fence = grant(request, now + lease + rules.grace)
    return allocation_reply(GRANTED, request, fence, -1, 0)
  end
  if no_waiters and wait == 0 then
    return allocation_reply(REFUSED, request, 0, -1, 0, blockers)
  end
  return queue(request)
end

-- {status, fence}
local function renew(token, names, fence, lease)
  local member = member_of(token, names)
  if not is_held_in_all(names, member) then
    grant_freed()
    return {quarantined and REASSERT or LOST, 0}
  end
  local record = record_of(pool_of(names[1]), member)
  if fence and fence ~= record.fence then
    return {GRANTED_AGAIN, record.fence}
  end
  extend_lease(names, member, lease)
  if record.since then
    claim(names, member, record)
  end
  return {HELD, record.fence}
end

-- {status, fence}. A claim without a stored token is accepted in quarantine only: nothing is
-- granted during it, so a holder from before can still have its token. A fence that is further
-- ahead than clocks of two servers may differ was never given out.
local function reassert(token, units, project, domain, fence, lease)
  local names = names_of(units)
  local member = member_of(token, names)
  local was_given_out = fence <= math.max(last, now + MAX_FENCE_AHEAD)
  if is_held_in_all(names, member) then
    local record = record_of(pool_of(names[1]), member)
    if record.fence >= fence or not quarantined or not was_given_out then
      return renew(token, names, fence, lease)
    end
    for _, name in ipairs(names) do  -- The stored grant is older than the reasserted one.
      delete_token(pool_of(name), member, record_of(pool_of(name), member))
    end
  end
  if not quarantined or not was_given_out then
    grant_freed()
    return {LOST, 0}
  end
  local known = find_waiter(id_of(token, names))
  if known then
    dequeue(known)
  end
  for _, unit in ipairs(units) do
    local ends = now + lease + rules.grace
    store_token(pool_of(unit[1]), member, unit[2], project, domain, fence, ends)
  end
  last = math.max(last, fence)
  return {HELD, fence}
end

-- {1 where it was held, 1 where it released a position, fence of a later grant that stays held}
local function release(token, names, fence)
  local member = member_of(token, names)
  local reply = {0, 0, 0}
  if is_held_in_all(names, member) then
    local record = record_of(pool_of(names[1]), member)
    if fence and fence ~= record.fence then
      reply[3] = record.fence
    else
      delete_token(pool_of(names[1]), member, record)
      for at = 2, #names do
        delete_token(pool_of(names[at]), member, record_of(pool_of(names[at]), member))
      end
      reply[record.since and 2 or 1] = 1
    end
  else
    local known = find_waiter(id_of(token, names))
    if known then
      dequeue(known)
      reply[2] = 1
    end
  end
  grant_freed()
  return reply
end

local function force_release(token, names, actor, why)
  local pool, member = pool_of(names[1]), member_of(token, names)
  local fence = is_held_in_all(names, member) and record_of(pool, member).fence
  local reply = release(token, names, false)
  if reply[1] + reply[2] > 0 then
    local entry = cjson.encode({token, names, actor, why, now / 1000000, reply[1] == 1})
    redis.call('LPUSH', prefix .. 'forced', entry)
    redis.call('LTRIM', prefix .. 'forced', 0, MAX_FORCED - 1)
  end
  if reply[1] == 1 then
    lost[#lost + 1] = {member, fence, pool.name}
  end
  return reply
end

-- {position}: 0 where it does not wait, -1 where the change granted it
local function reprioritize(token, names, priority)
  local waiter = find_waiter(id_of(token, names))
  if not waiter then
    return {0}
  end
  for _, unit in ipairs(waiter.units) do
    remove_ticket(pool_of(unit[1]), waiter)
  end
  waiter.priority = priority
  for _, unit in ipairs(waiter.units) do
    insert_ticket(pool_of(unit[1]), waiter, unit)
    mark_freed(pool_of(unit[1]))
  end
  store_request(waiter)
  grant_freed()
  return {find_waiter(waiter.id) and position_of(waiter) or -1}
end

-- {1 where these limits close the pool, units held, waiters, 1 in quarantine}
local function count(name, generation, revision)
  local pool = pool_of(name)
  local limits = pool.limits
  local closed = limits and not limits[ACTIVE] and limits[REVISION] == revision
    and (limits[GENERATION] or 0) == generation
  return {closed and 1 or 0, units_held(pool), pool.waiting, quarantined and 1 or 0}
end

-- Process some of the pools that are due.
local function sweep()
  if quarantined then
    return {}
  end
  local due = redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', now, 'LIMIT', 0, MAX_SWEPT)
  for _, name in ipairs(due) do
    local pool = pool_of(name)
    pool.leases_changed = true
    reap(pool)
    if redis.call('HEXISTS', pool.tags, 'c') == 0 then
      mark_freed(pool)  -- So that no other pool grants a waiter that is not the first here.
    end
  end
  for _, name in ipairs(due) do
    grant_waiters(pool_of(name), true)
  end
  grant_freed()
  return {}
end

local operations = {
  allocate = allocate, renew = renew, reassert = reassert, release = release,
  force_release = force_release, reprioritize = reprioritize, count = count,
  sweep = sweep,
}

if quarantine_end > 0 and not quarantined then
  -- Waiters of the quarantine are granted in order, before the first new request.
  redis.call('HSET', KEYS[1], 'until', 0)
  sweep()
end
if not quarantined then
  local late =
    redis.call('ZRANGEBYSCORE', prefix .. 'patience', '-inf', now, 'LIMIT', 0, MAX_ABANDONED)
  for _, id in ipairs(late) do
    dequeue(find_waiter(id))
    abandoned = abandoned + 1
  end
end
for _, declared in ipairs(cjson.decode(ARGV[2])) do
  local pool = declare(declared[1], declared[2])
  reap(pool)
  if pool.limits_changed then
    return_capped(pool.name .. '\n')
    mark_freed(pool)
  end
end
grant_freed()

local replies = {}
local before, arrived_before = last, last_arrival
for at, arguments in ipairs(cjson.decode(ARGV[3])) do
  replies[at] = operations[arguments[1]](unpack(arguments, 2))
end
return_freed()  -- Those that no pool has returned, because it grants nothing now.
if last ~= before then
  redis.call('HSET', KEYS[1], 'last', last)
end
if last_arrival ~= arrived_before then
  redis.call('HSET', KEYS[1], 'arrived', last_arrival)
end

local usages = {}
for name, pool in pairs(pools) do
  write_sums(pool)
  write_queue(pool)
  usages[#usages + 1] = {name, units_held(pool), pool.waiting}
  if pool.unfinished then
    redis.call('ZADD', prefix .. 'due', now, name)
  elseif quarantined and pool.waiting > 0 then
    redis.call('ZADD', prefix .. 'due', quarantine_end, name)
  elseif pool.leases_changed then
    local first = redis.call('ZRANGE', pool.leases, 0, 0, 'WITHSCORES')[2]
    if first then
      redis.call('ZADD', prefix .. 'due', first, name)
    else
      redis.call('ZREM', prefix .. 'due', name)
    end
  end
end

local hints = {}
for _, one in ipairs(pre_granted) do
  if not pre_granted[one[1]] then
    hints[#hints + 1] = {one[2], one[3], one[4]}
  end
end
return {replies, hints, lost, {unclaimed, abandoned}, usages, quarantined and 1 or 0, now}
