-- What every script begins with: the clock, what is known of the server, and the limits of pools.
--
-- KEYS[1] is `trimtab:{<cohort>}:state`; the other keys of the cohort begin alike and so lie in the
-- same hash slot:
--   state           hash: run (of the server that wrote it), until (end of the quarantine), last
--                   (number given out), longest (lease that anyone may have)
--   new             set by whoever made an empty server: nothing can be held, so no quarantine
--   pools           hash: pool, its limits as resmgr knows them
--   due             sorted set: pool, when a lease of it ends first
--   leases:<pool>   sorted set: token, when its units are free. That is its lease and a grace
--   tokens:<pool>   hash: token, its weight, project, domain, fence; and for one that waited and
--                   has not been asked for since, when it was asked for first
--   sums:<pool>     hash: units held in all, by project, and by project and domain
--   asks            hash: request that waits, everything that is known of it
--   patience        sorted set: request that waits, when its place is lost unless it is asked again
--   waiters:<pool>  sorted set: ticket of a request, its score; the order of the pool
--   line:<pool>…    sorted set: tickets of one project, domain and priority, when they came
--   heads:<pool>    sorted set: the first ticket of each line, its score
--   tags:<pool>     hash: virtual time (v), where each project's next request begins, the cursor (c)
--   forced          list: what admins took away, the latest first
--
-- Times are microseconds of the server's clock: a double holds them exactly until the year 2255.
-- Keys that would be empty are absent. A script reads and checks before it writes: nothing of a
-- request is done where any of it is refused.
--
-- ARGV[1] are the rules, in JSON: grace, longest, place, poll, ripe (microseconds) and ageing.

local prefix = string.sub(KEYS[1], 1, -6)
local rules = cjson.decode(ARGV[1])

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- Another one after each restart, after a failover and on another server: what was acknowledged
-- may be missing there, and its clock may be another.
local run = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local state = redis.call('HMGET', KEYS[1], 'run', 'until', 'last', 'longest')
local quarantine = tonumber(state[2] or 0)
local last = tonumber(state[3] or 0)
local longest = math.max(tonumber(state[4] or 0), rules.longest)
if state[1] ~= run then
  local nothing_held = not state[1] and redis.call('DEL', prefix .. 'new') == 1
  quarantine = nothing_held and 0 or now + longest + rules.grace
  redis.call('HSET', KEYS[1], 'run', run, 'until', quarantine)
end
if longest ~= tonumber(state[4]) then
  redis.call('HSET', KEYS[1], 'longest', longest)
end
local quarantined = now < quarantine

-- Grows with each call, also where the memory of the last one is lost, as long as clocks agree.
local function next_number()
  last = math.max(last + 1, now)
  return last
end

local REVISION, ACTIVE, QUOTA_OF, CAP, DOMAIN_CAP, MOST = 1, 2, 3, 4, 5, 6

local pools = {}
local function pool_of(name)
  local pool = pools[name]
  if not pool then
    local limits = redis.call('HGET', prefix .. 'pools', name)
    pool = {
      name = name,
      leases = prefix .. 'leases:' .. name,
      tokens = prefix .. 'tokens:' .. name,
      sums = prefix .. 'sums:' .. name,
      waiters = prefix .. 'waiters:' .. name,
      heads = prefix .. 'heads:' .. name,
      tags = prefix .. 'tags:' .. name,
      line = prefix .. 'line:' .. #name .. ':' .. name .. ':',
      limits = limits and cjson.decode(limits),
      known = {},
      summed = {},
    }
    pool.waiting = redis.call('ZCARD', pool.waiters)
    pools[name] = pool
  end
  return pool
end

-- Limits are [revision, active, quota, cap of a project, cap of a project in a domain, most units of
-- one token] in JSON.
-- A replica that has not heard of a change does not undo it.
local function declare(name, text)
  local pool, limits = pool_of(name), cjson.decode(text)
  local known = pool.limits
  if not known or limits[REVISION] >= known[REVISION] then
    if redis.call('HGET', prefix .. 'pools', name) ~= text then
      redis.call('HSET', prefix .. 'pools', name, text)
      pool.changed = true
    end
    pool.limits = limits
  end
  return pool
end
