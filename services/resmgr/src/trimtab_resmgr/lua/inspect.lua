-- A pool as it is now.
--
-- ARGV[2]: its name; ARGV[3]: how many holders to name, those first whose lease ends first, and how
--   many requests that wait
-- Returns the sums as field, units, …; for each holder: token as in its pools, project, domain,
--   weight, fence, microseconds that its lease still lasts, microseconds since it was granted (its
--   fence is the time of that, or hardly later), 1 where it was claimed; for each request that waits:
--   token, pools, project, domain, weight, priority, microseconds since it came, and what is in the
--   way, as requests.lua tells it; how many wait; microseconds of quarantine

local pool, most = pool_of(ARGV[2]), tonumber(ARGV[3])

local holders = {}
local from = quarantined and '-inf' or '(' .. string.format('%.0f', now)
local leases =
  redis.call('ZRANGEBYSCORE', pool.leases, from, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
for at = 1, #leases, 2 do
  local record = record_of(pool, leases[at])
  local left = tonumber(leases[at + 1]) - now - (record.since and 0 or rules.grace)
  holders[#holders + 1] = {
    leases[at], record.project, record.domain, record.weight, record.fence, left,
    math.max(0, now - record.fence), record.since and 0 or 1,
  }
end

local waiters = {}
for _, ticket in ipairs(redis.call('ZRANGE', pool.waiters, 0, most - 1)) do
  local ask = ask_at(ticket)
  local weight
  for _, unit in ipairs(ask.units) do
    weight = unit[1] == pool.name and unit[2] or weight
  end
  waiters[#waiters + 1] = {
    ask.token, names_of(ask.units), ask.project, ask.domain, weight, ask.priority,
    now - ask.arrival, (hindrances(ask)),
  }
end

local left = quarantined and quarantine - now or 0
return {redis.call('HGETALL', pool.sums), holders, waiters, pool.waiting, left}
