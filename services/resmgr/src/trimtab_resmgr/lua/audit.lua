-- Recounts a pool from its tokens and from those who wait, and changes nothing.
--
-- ARGV[2]: its name
-- Returns a line for each difference, none is how it must be; and what was taken by force. Reads
-- the whole pool.

local pool = pool_of(ARGV[2])
local differences = {}
local function differs(line)
  differences[#differences + 1] = line
end

local counted = {}
local tokens = redis.call('HGETALL', pool.tokens)
for at = 1, #tokens, 2 do
  local weight, project, domain = cmsgpack.unpack(tokens[at + 1])
  for _, field in ipairs(fields(project, domain)) do
    counted[field] = (counted[field] or 0) + weight
  end
  if not redis.call('ZSCORE', pool.leases, tokens[at]) then
    differs('token ' .. tokens[at] .. ' has no lease')
  end
end
if redis.call('ZCARD', pool.leases) ~= #tokens / 2 then
  differs('there are leases without a token')
end
if #tokens > 0 and not redis.call('ZSCORE', prefix .. 'due', pool.name) then
  differs('nobody will look when its leases end')
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

local heads = {}
for _, ticket in ipairs(redis.call('ZRANGE', pool.waiters, 0, -1)) do
  local ask = ask_at(ticket)
  if not ask then
    differs('request ' .. ticket .. ' waits, and nothing is known of it')
  elseif not redis.call('ZSCORE', prefix .. 'patience', ask.id) then
    differs('request ' .. ask.token .. ' would wait for ever')
  else
    local line = line_of(pool, ask)
    local first = redis.call('ZRANGE', line, 0, 0)[1]
    heads[first or ticket] = true
    if not redis.call('ZSCORE', line, ticket) then
      differs('request ' .. ask.token .. ' is in no line')
    end
  end
end
for _, ticket in ipairs(redis.call('ZRANGE', pool.heads, 0, -1)) do
  if not heads[ticket] then
    differs('head ' .. ticket .. ' is not the first of its line')
  end
  heads[ticket] = nil
end
for ticket in pairs(heads) do
  differs('request ' .. ticket .. ' is the first of its line, and no head')
end

return {differences, redis.call('LRANGE', prefix .. 'forced', 0, -1)}
