-- Read the current state of a pool.
--
-- ARGV[2]: its name; ARGV[3]: the number of holders, by the end of their leases, and of waiters, by
--   position, to list; ARGV[4], ARGV[5]: the last holder and the last waiter of the page before,
--   nothing for the first page, or `-` to list none
-- Returns the sums as field, units, …; for each holder: token as in its pools, project, domain,
--   weight, fence, microseconds until its lease ends, microseconds since the grant (a fence is the
--   time of its grant, or hardly later), 1 where it was claimed; for each waiter: token, pools,
--   project, domain, weight, priority, microseconds since its arrival, and blockers as in
--   requests.lua; the position of the first of them; the numbers of all holders and waiters; the last
--   holder and the last waiter, where there are more; microseconds of quarantine

local pool, most = pool_of(ARGV[2]), tonumber(ARGV[3])

-- Lua compares strings by the locale, and a sorted set by bytes.
local function is_before(one, other)
  for at = 1, math.min(#one, #other) do
    local byte, other_byte = string.byte(one, at), string.byte(other, at)
    if byte ~= other_byte then
      return byte < other_byte
    end
  end
  return #one < #other
end

-- The rank behind an entry, `<score> <member>`, which need not be there any more. It is no rank that
-- a page remembers: those of later ones change with each that goes.
local function rank_behind(key, entry)
  local score, member = string.match(entry, '^(%S+) (.*)$')
  if not score then
    return 0
  end
  local low = redis.call('ZCOUNT', key, '-inf', '(' .. score)
  local high = redis.call('ZCOUNT', key, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(member, redis.call('ZRANGE', key, middle, middle)[1]) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- The members behind an entry, with their scores; the rank of the first of them, which is at least
-- `first`; and the last of them as an entry, where there are more.
local function page_of(key, entry, first)
  if entry == '-' then
    return {}, 0, ''
  end
  local rank = math.max(first, rank_behind(key, entry))
  local found = redis.call('ZRANGE', key, rank, rank + most - 1, 'WITHSCORES')
  local is_last = rank + #found / 2 >= redis.call('ZCARD', key)
  return found, rank, is_last and '' or found[#found] .. ' ' .. found[#found - 1]
end

local holders = {}
local ended = not quarantined and redis.call('ZCOUNT', pool.leases, '-inf', now) or 0
local leases, _, holders_next = page_of(pool.leases, ARGV[4], ended)
for at = 1, #leases, 2 do
  local record = record_of(pool, leases[at])
  local left = tonumber(leases[at + 1]) - now - (record.since and 0 or rules.grace)
  holders[#holders + 1] = {
    leases[at], record.project, record.domain, record.weight, record.fence, left,
    math.max(0, now - record.fence), record.since and 0 or 1,
  }
end

local waiters = {}
local tickets, first_waiter, waiters_next = page_of(pool.waiters, ARGV[5], 0)
for at = 1, #tickets, 2 do
  local waiter = waiter_at(tickets[at])
  waiters[#waiters + 1] = {
    waiter.token, names_of(waiter.units), waiter.project, waiter.domain, weight_in(pool, waiter),
    waiter.priority, now - waiter.arrival, (blockers_of(waiter)),
  }
end

return {
  redis.call('HGETALL', pool.sums), holders, waiters, first_waiter + 1,
  {redis.call('ZCARD', pool.leases) - ended, pool.waiting}, {holders_next, waiters_next},
  quarantined and quarantine_end - now or 0,
}
