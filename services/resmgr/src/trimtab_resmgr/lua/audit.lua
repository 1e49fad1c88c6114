-- Recounts a pool from its tokens and changes nothing but what every call reaps.
--
-- Returns a line for each difference; none is how it must be. Reads the whole pool.

local pool = pool_at(1)
local differences = {}
local function differs(line)
  differences[#differences + 1] = line
end

local counted = {}
local tokens = redis.call('HGETALL', pool.tokens)
for at = 1, #tokens, 2 do
  local weight, project, domain = cmsgpack.unpack(tokens[at + 1])
  for _, field in ipairs({fields(project, domain)}) do
    counted[field] = (counted[field] or 0) + weight
  end
  if not redis.call('ZSCORE', pool.leases, tokens[at]) then
    differs('token ' .. tokens[at] .. ' has no lease')
  end
end
if redis.call('ZCARD', pool.leases) ~= #tokens / 2 then
  differs('there are leases without a token')
end

local sums = redis.call('HGETALL', pool.sums)
for at = 1, #sums, 2 do
  local field, sum = sums[at], tonumber(sums[at + 1])
  if sum ~= counted[field] then
    differs('sum ' .. field .. ' is ' .. sum .. ', counted are ' .. (counted[field] or 0))
  end
  counted[field] = nil
end
for field, weight in pairs(counted) do
  differs('sum ' .. field .. ' is absent, counted are ' .. weight)
end
return differences
