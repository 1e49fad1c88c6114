-- Read the current state of a pool.
--
-- ARGV[2]: its name; ARGV[3]: the number of holders, by the end of their leases, and of waiters, by
-- position, to list; ARGV[4], ARGV[5]: the numbers of holders and of waiters to leave out before them
-- Returns the sums as field, units, …; for each holder: token as in its pools, project, domain,
--   weight, fence, microseconds until its lease ends, microseconds since the grant (a fence is the
--   time of its grant, or hardly later), 1 where it was claimed; for each waiter: token, pools,
--   project, domain, weight, priority, microseconds since its arrival, and blockers as in
--   requests.lua; the number of all waiters; microseconds of quarantine

local pool, most = pool_of(ARGV[2]), tonumber(ARGV[3])
local first_holder, first_waiter = tonumber(ARGV[4]), tonumber(ARGV[5])

local holders = {}
local from = quarantined and '-inf' or '(' .. string.format('%.0f', now)
local leases =
  redis.call('ZRANGEBYSCORE', pool.leases, from, '+inf', 'WITHSCORES', 'LIMIT', first_holder, most)
for at = 1, #leases, 2 do
  local record = record_of(pool, leases[at])
  local left = tonumber(leases[at + 1]) - now - (record.since and 0 or rules.grace)
  holders[#holders + 1] = {
    leases[at], record.project, record.domain, record.weight, record.fence, left,
    math.max(0, now - record.fence), record.since and 0 or 1,
  }
end

local waiters = {}
for _, ticket in ipairs(redis.call('ZRANGE', pool.waiters, first_waiter, first_waiter + most - 1)) do
  local waiter = waiter_at(ticket)
  waiters[#waiters + 1] = {
    waiter.token, names_of(waiter.units), waiter.project, waiter.domain, weight_in(pool, waiter),
    waiter.priority, now - waiter.arrival, (blockers_of(waiter)),
  }
end

local left = quarantined and quarantine_end - now or 0
return {redis.call('HGETALL', pool.sums), holders, waiters, pool.waiting, left}
