-- A pool as it is now.
--
-- ARGV: how many holders to name, those first whose lease ends first
-- Returns the sums as field, units, …; then for each holder: token, project, domain, weight and
--   the microseconds that its lease still lasts

local pool = pool_at(1)
local holders = {}
local leases = redis.call('ZRANGEBYSCORE', pool.leases, '(' .. string.format('%.0f', now), '+inf',
  'WITHSCORES', 'LIMIT', 0, ARGV[1])
for at = 1, #leases, 2 do
  local token = leases[at]
  local weight, project, domain = cmsgpack.unpack(redis.call('HGET', pool.tokens, token))
  holders[#holders + 1] = {token, project, domain, weight, tonumber(leases[at + 1]) - now}
end
return {redis.call('HGETALL', pool.sums), holders}
