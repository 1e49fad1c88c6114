-- Compare the sums and queues of a pool with its tokens and waiters, and change nothing.
--
-- ARGV[2]: its name
-- Returns a message for each difference, none in a correct pool; and the releases by admins. Reads
-- the whole pool.

local pool = pool_of(ARGV[2])
local differences = {}
local function report(message)
  differences[#differences + 1] = message
end

local counted = {}
local tokens = redis.call('HGETALL', pool.tokens)
for at = 1, #tokens, 2 do
  local weight, project, domain = cmsgpack.unpack(tokens[at + 1])
  for _, field in ipairs(sum_fields(project, domain)) do
    counted[field] = (counted[field] or 0) + weight
  end
  if not redis.call('ZSCORE', pool.leases, tokens[at]) then
    report('token ' .. tokens[at] .. ' has no lease')
  end
end
if redis.call('ZCARD', pool.leases) ~= #tokens / 2 then
  report('there are leases without a token')
end
if #tokens > 0 and not redis.call('ZSCORE', prefix .. 'due', pool.name) then
  report('no sweep is due for its leases')
end

local sums = redis.call('HGETALL', pool.sums)
for at = 1, #sums, 2 do
  local field, sum = sums[at], tonumber(sums[at + 1])
  if sum ~= counted[field] then
    report('sum ' .. field .. ' is ' .. sum .. ', its leases have ' .. (counted[field] or 0))
  end
  counted[field] = nil
end
for field, weight in pairs(counted) do
  report('sum ' .. field .. ' is absent, its leases have ' .. weight)
end

local heads, demand = {}, 0
for _, ticket in ipairs(redis.call('ZRANGE', pool.waiters, 0, -1)) do
  local waiter = waiter_at(ticket)
  if not waiter then
    report('waiter ' .. ticket .. ' has no request')
  elseif not redis.call('ZSCORE', prefix .. 'patience', waiter.id) then
    report('waiter ' .. waiter.token .. ' has no time limit')
  else
    demand = demand + weight_in(pool, waiter)
    local subqueue = subqueue_of(pool, waiter)
    local first = redis.call('ZRANGE', subqueue, 0, 0)[1]
    heads[first or ticket] = true
    if not redis.call('ZSCORE', subqueue, ticket) then
      report('waiter ' .. waiter.token .. ' is not in its subqueue')
    end
  end
end
for _, ticket in ipairs(redis.call('ZRANGE', pool.heads, 0, -1)) do
  if not heads[ticket] then
    report('head ' .. ticket .. ' is not the first of its subqueue')
  end
  heads[ticket] = nil
  local cap = redis.call('HGET', pool.capped, ticket)
  if not cap and not redis.call('ZSCORE', pool.ready, ticket) then
    report('head ' .. ticket .. ' is neither ready nor at a cap')
  elseif cap and not select(3, shortage_of(waiter_at(ticket), pool)) then
    report('head ' .. ticket .. ' is set aside, and no cap blocks it')
  end
end
for ticket in pairs(heads) do
  report('waiter ' .. ticket .. ' is the first of its subqueue, but not a head')
end

local stored = redis.call('HGET', pool.tags, 'w')
if stored and tonumber(stored) ~= demand then
  report('the waiters are said to request ' .. stored .. ', they request ' .. demand)
end

return {differences, redis.call('LRANGE', prefix .. 'forced', 0, -1)}
