-- All requests of one tick of a replica, in order.
--
-- ARGV[2]: [[pool, limits], …] in JSON, as this replica knows them; ARGV[3]: [[operation, …], …].
-- Names of pools are sorted; what is absent is false. Returns
--   an answer for each request, see its function
--   {token, pools, microseconds to claim it} of each that was granted while it waited
--   {token as in its pools, fence, pool} of each whose lease ended
--   how many grants were not claimed, how many requests were not asked again
--   {pool, units held, requests that wait} of each pool that was looked at

local GRANTED, WAITING, REFUSED, NEVER, TIMED_OUT = 0, 1, 2, 3, 4
local HELD, LOST, REASSERT, OTHER = 0, 1, 2, 3
local MOST_DROPPED = 64
local MOST_SWEPT = 64
local MOST_FORCED = 1000

local function hold_until(names, member, lease)
  for _, name in ipairs(names) do
    redis.call('ZADD', pool_of(name).leases, now + lease + rules.grace, member)
  end
end

-- A grant in passing becomes a lease.
local function claim(names, member, record)
  for _, name in ipairs(names) do
    local pool = pool_of(name)
    local own = record_of(pool, member)
    local packed = cmsgpack.pack(own.weight, own.project, own.domain, own.fence)
    redis.call('HSET', pool.tokens, member, packed)
    pool.moved = true
  end
  return now - record.since
end

local function position(ask)
  local worst = 0
  for _, unit in ipairs(ask.units) do
    local rank = redis.call('ZRANK', pool_of(unit[1]).waiters, ticket_of(ask))
    worst = math.max(worst, rank + 1)
  end
  return worst
end

-- {status, units held, fence, microseconds waited, position, microseconds to ask again, blockers…}
local function answer(status, ask, fence, waited, place, blockers)
  local reply = {status, total(pool_of(ask.units[1][1])), fence, waited, 0, place}
  if status == WAITING then
    reply[5] = position(ask)
  end
  for _, blocker in ipairs(blockers or {}) do
    reply[#reply + 1] = blocker
  end
  return reply
end

local function granted(ask, names, member)
  hold_until(names, member, ask.lease)
  local record = record_of(pool_of(names[1]), member)
  local waited = -1
  if record.since then
    waited = claim(names, member, record)
    woken[ask.id] = true  -- it is told now, and needs no hint
  end
  return answer(GRANTED, ask, record.fence, waited, 0)
end

-- How long a place is kept for one that polls is learnt from its pace.
local function patience(ask)
  if ask.wait then
    return rules.place
  elseif ask.asked == now then
    return rules.poll
  end
  return math.min(math.max(rules.place, 3 * (now - ask.asked)), 2 * rules.poll)
end

-- Its priority may have been changed since it was asked first, and stays changed.
local function same(one, other)
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

-- The ask as it waits: with its place, and with what it says now. Nothing where its time is over.
local function renewed(known, ask)
  if ask.wait and now - known.arrival >= ask.wait then
    dequeue(known)
    return nil
  end
  known.cap, known.domain_cap, known.lease, known.wait = ask.cap, ask.domain_cap, ask.lease, ask.wait
  known.place = patience(known)
  known.asked = now
  keep(known)
  return known
end

local function lined_up(ask)
  ask.arrival = next_number()
  ask.asked = now
  ask.place = patience(ask)
  enqueue(ask)
  return ask
end

-- Nobody else can go because this one came: whoever can go has been let go before.
local function wait(ask)
  local known = find(ask.id)
  if known and not (same(known, ask) and ask.wait ~= 0) then
    dequeue(known)
    settle()
    known = nil
  end
  local waited = known and now - known.arrival or -1
  local mine = known and renewed(known, ask) or not known and lined_up(ask)
  if not mine then
    settle()
    return {TIMED_OUT, 0, 0, waited, 0, 0}
  end
  local blockers, reply = hindrances(mine), nil
  if #blockers == 0 then
    local fence = grant(mine, now + mine.lease + rules.grace)
    dequeue(mine, true)
    reply = answer(GRANTED, mine, fence, waited, 0)
  elseif mine.wait == 0 then
    dequeue(mine)
    reply = answer(REFUSED, mine, 0, -1, 0, blockers)
  else
    reply = answer(WAITING, mine, 0, now - mine.arrival, mine.place, blockers)
  end
  settle()
  return reply
end

local function allocate(token, units, project, domain, priority, cap, domain_cap, lease, waits)
  local names = names_of(units)
  local ask = {
    id = id_of(token, names), token = token, units = units, project = project, domain = domain,
    priority = priority, cap = cap, domain_cap = domain_cap, lease = lease, wait = waits,
  }
  local member = member_of(token, names)
  if held_in_all(names, member) then
    return granted(ask, names, member)
  end
  settle()
  local alone = true
  for _, name in ipairs(names) do
    alone = alone and pool_of(name).waiting == 0
  end
  local blockers, never = hindrances(ask, true)
  if never then
    local known = find(ask.id)
    if known then
      dequeue(known)
      settle()
    end
    return answer(NEVER, ask, 0, -1, 0, blockers)
  end
  if alone and #blockers == 0 then
    local fence = grant(ask, now + lease + rules.grace)
    return answer(GRANTED, ask, fence, -1, 0)
  end
  if alone and waits == 0 then
    return answer(REFUSED, ask, 0, -1, 0, blockers)
  end
  return wait(ask)
end

-- {what became of it, its fence}
local function renew(token, names, fence, lease)
  local member = member_of(token, names)
  if not held_in_all(names, member) then
    settle()
    return {quarantined and REASSERT or LOST, 0}
  end
  local record = record_of(pool_of(names[1]), member)
  if fence and fence ~= record.fence then
    return {OTHER, record.fence}
  end
  hold_until(names, member, lease)
  if record.since then
    claim(names, member, record)
  end
  return {HELD, record.fence}
end

-- {what became of it, its fence}. Only in quarantine is anything taken on trust: nobody is granted
-- anything then, so whoever was granted it before can have it still.
local function reassert(token, units, project, domain, fence, lease)
  local names = names_of(units)
  local member = member_of(token, names)
  if held_in_all(names, member) then
    local record = record_of(pool_of(names[1]), member)
    if record.fence >= fence or not quarantined then
      return renew(token, names, fence, lease)
    end
    for _, name in ipairs(names) do  -- a grant that was forgotten came after this one
      drop(pool_of(name), member, record_of(pool_of(name), member))
    end
  end
  -- A fence far ahead of the clock is none that was given out.
  if not quarantined or fence > now + 86400000000 then
    settle()
    return {LOST, 0}
  end
  local known = find(id_of(token, names))
  if known then
    dequeue(known)
  end
  for _, unit in ipairs(units) do
    local ends = now + lease + rules.grace
    hold(pool_of(unit[1]), member, unit[2], project, domain, fence, ends)
  end
  last = math.max(last, fence)
  return {HELD, fence}
end

-- {1 where it was held, 1 where it gave a place back, fence of a later grant that is left alone}
local function release(token, names, fence)
  local member = member_of(token, names)
  local reply = {0, 0, 0}
  if held_in_all(names, member) then
    local record = record_of(pool_of(names[1]), member)
    if fence and fence ~= record.fence then
      reply[3] = record.fence
    else
      drop(pool_of(names[1]), member, record)
      for at = 2, #names do
        drop(pool_of(names[at]), member, record_of(pool_of(names[at]), member))
      end
      reply[record.since and 2 or 1] = 1
    end
  else
    local known = find(id_of(token, names))
    if known then
      dequeue(known)
      reply[2] = 1
    end
  end
  settle()
  return reply
end

local function force(token, names, actor, why)
  local pool, member = pool_of(names[1]), member_of(token, names)
  local fence = held_in_all(names, member) and record_of(pool, member).fence
  local reply = release(token, names, false)
  if reply[1] + reply[2] > 0 then
    local entry = cjson.encode({token, names, actor, why, now / 1000000, reply[1] == 1})
    redis.call('LPUSH', prefix .. 'forced', entry)
    redis.call('LTRIM', prefix .. 'forced', 0, MOST_FORCED - 1)
  end
  if reply[1] == 1 then
    lost[#lost + 1] = {member, fence, pool.name}
  end
  return reply
end

-- {position}: 0 where it does not wait, -1 where it has just been granted
local function reprioritize(token, names, priority)
  local ask = find(id_of(token, names))
  if not ask then
    return {0}
  end
  for _, unit in ipairs(ask.units) do
    step_out(pool_of(unit[1]), ask)
  end
  ask.priority = priority
  for _, unit in ipairs(ask.units) do
    line_up(pool_of(unit[1]), ask, unit)
    freed[#freed + 1] = pool_of(unit[1])
  end
  local id = ask.id
  ask.id = nil
  redis.call('HSET', prefix .. 'asks', id, cmsgpack.pack(ask))
  ask.id = id
  settle()
  return {find(id) and position(ask) or -1}
end

-- Some of what is due.
local function sweep()
  if quarantined then
    return {}
  end
  local due = redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', now, 'LIMIT', 0, MOST_SWEPT)
  for _, name in ipairs(due) do
    pool_of(name).moved = true
    reap(pool_of(name))
  end
  for _, name in ipairs(due) do
    advance(pool_of(name), true)
  end
  settle()
  return {}
end

local operations = {
  allocate = allocate, renew = renew, reassert = reassert, release = release, force = force,
  reprioritize = reprioritize, sweep = sweep,
}

if quarantine > 0 and not quarantined then
  -- Those who waited for its end go in order, before whoever asks first now.
  redis.call('HSET', KEYS[1], 'until', 0)
  sweep()
end
if not quarantined then
  local late =
    redis.call('ZRANGEBYSCORE', prefix .. 'patience', '-inf', now, 'LIMIT', 0, MOST_DROPPED)
  for _, id in ipairs(late) do
    dequeue(find(id))
    dropped = dropped + 1
  end
end
for _, declared in ipairs(cjson.decode(ARGV[2])) do
  local pool = declare(declared[1], declared[2])
  reap(pool)
  if pool.changed then
    freed[#freed + 1] = pool
  end
end
settle()

local answers = {}
local before = last
for at, request in ipairs(cjson.decode(ARGV[3])) do
  answers[at] = operations[request[1]](unpack(request, 2))
end
if last ~= before then
  redis.call('HSET', KEYS[1], 'last', last)
end

local levels = {}
for name, pool in pairs(pools) do
  write_sums(pool)
  levels[#levels + 1] = {name, total(pool), pool.waiting}
  if pool.unfinished then
    redis.call('ZADD', prefix .. 'due', now, name)
  elseif quarantined and pool.waiting > 0 then
    redis.call('ZADD', prefix .. 'due', quarantine, name)
  elseif pool.moved then
    local first = redis.call('ZRANGE', pool.leases, 0, 0, 'WITHSCORES')[2]
    if first then
      redis.call('ZADD', prefix .. 'due', first, name)
    else
      redis.call('ZREM', prefix .. 'due', name)
    end
  end
end

local hints = {}
for _, one in ipairs(woken) do
  if not woken[one[1]] then
    hints[#hints + 1] = {one[2], one[3], one[4]}
  end
end
return {answers, hints, lost, {unclaimed, dropped}, levels}
