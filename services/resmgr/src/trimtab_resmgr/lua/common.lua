-- What every operation begins with. The file of the operation is appended to this one.
--
-- KEYS: for each pool three, all in the hash slot of its cohort
--   leases  sorted set: token, scored by when its lease ends, in microseconds of the server's clock
--   tokens  hash: token, with its weight, project and domain
--   sums    hash: units held in all, by project, and by project and domain
--
-- A token is held while its lease ends later than now; its units are in the sums until it is
-- dropped. Sums that are 0 are absent, so an empty pool has no keys.

-- A double holds microseconds exactly until the year 2255.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local MOST_REAPED = 64

local function pool_at(place)
  local first = 3 * tonumber(place) - 2
  return {leases = KEYS[first], tokens = KEYS[first + 1], sums = KEYS[first + 2]}
end

-- The length keeps "a:b" in "c" apart from "a" in "b:c".
local function fields(project, domain)
  return 't', 'p:' .. project, 'd:' .. #project .. ':' .. project .. ':' .. domain
end

local function add(pool, weight, project, domain)
  for _, field in ipairs({fields(project, domain)}) do
    if redis.call('HINCRBY', pool.sums, field, weight) == 0 then
      redis.call('HDEL', pool.sums, field)
    end
  end
end

local function drop(pool, token)
  local weight, project, domain = cmsgpack.unpack(redis.call('HGET', pool.tokens, token))
  redis.call('HDEL', pool.tokens, token)
  redis.call('ZREM', pool.leases, token)
  add(pool, -weight, project, domain)
end

-- Whether the token is held. One whose lease has ended is dropped, even if it was not reaped.
local function held(pool, token)
  local ends = redis.call('ZSCORE', pool.leases, token)
  if not ends then
    return false
  end
  if tonumber(ends) > now then
    return true
  end
  drop(pool, token)
  return false
end

-- Bounded, so that no call pays for a crowd that has left; later calls take the rest.
local left_to_reap = MOST_REAPED
for place = 1, #KEYS / 3 do
  local pool = pool_at(place)
  local ended = redis.call('ZRANGEBYSCORE', pool.leases, '-inf', now, 'LIMIT', 0, left_to_reap)
  for _, token in ipairs(ended) do
    drop(pool, token)
  end
  left_to_reap = left_to_reap - #ended
end
