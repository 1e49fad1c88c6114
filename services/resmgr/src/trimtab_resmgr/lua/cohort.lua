-- The beginning of every script: clock, identity of the server, and limits of pools.
--
-- KEYS[1] is `trimtab:{<cohort>}:state`. The other keys of the cohort have the same prefix and hash
-- slot. Their names, and the names of packed fields, are stored in Redis: a release that changes
-- one has to convert the stored data.
--   state           hash: run (the id of the server that wrote it), until (the end of the
--                   quarantine), last (the last fence given out), arrived (the last arrival of a
--                   waiter), longest (the longest lease that any holder may have)
--   new             set by the operator of an empty server: nothing can be held, so no quarantine
--   pools           hash: pool -> its limits, as resmgr declared them
--   due             sorted set: pool, the time when its first lease ends
--   leases:<pool>   sorted set: token, the time when its units are free: its lease plus the grace
--   tokens:<pool>   hash: token -> weight, project, domain, fence; and, while it is pre-granted and
--                   not claimed, the time of its first request
--   sums:<pool>     hash: units held in all, by project, and by project and domain
--   `asks`          hash: id of a waiter -> its request, see queue.lua
--   patience        sorted set: id of a waiter, the time when it is dropped unless its request is
--                   repeated
--   waiters:<pool>  sorted set: ticket of a waiter, its score; this is the queue of the pool
--   line:<pool>…    sorted set: tickets of one project, domain and priority, their arrivals; a
--                   subqueue of the pool
--   heads:<pool>    sorted set: the first ticket of each subqueue, its score
--   ready:<pool>    sorted set: those of the heads that no cap blocks, as far as is known; its score
--   capped:<pool>   hash: every other head -> pool and field of `sums` of the cap that blocks it
--   capped          sorted set: an index of all `capped:<pool>`; pool, field, pool and ticket in one
--   tags:<pool>     hash: virtual time (v), the start tag of each project's next request, cursor (c),
--                   the ticket of the first waiter (f), since when it is the first (s), the units
--                   that all waiters request (w); a queue that an earlier release began has no w
--   forced          list: releases by admins, the latest first
--
-- Times are microseconds of the server's clock: a double holds them exactly until the year 2255.
-- Keys that would be empty do not exist. A script reads and checks before it writes: a request that
-- is refused changes nothing.
--
-- ARGV[1] are the rules in JSON: grace, max_lease, keep_waiter, keep_poller, reserve_after
-- (microseconds), ageing and shared (whether one server has all cohorts); `Rules` of store.py has their meanings.

local prefix = string.sub(KEYS[1], 1, -6)
local rules = cjson.decode(ARGV[1])

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- A cohort without a state is new, or its state was lost with all data of the server. Every replica
-- uses the cohort `default` all the time, so its state shows when that last happened: a new cohort is
-- in quarantine for as long as it. In a Redis Cluster, the two may be on different servers.
local WITNESS = 'trimtab:{default}:state'

-- The replication id changes with each restart and failover and differs between servers. On another
-- server acknowledged writes may be missing, and its clock may differ.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local state = redis.call('HMGET', KEYS[1], 'run', 'until', 'last', 'longest', 'arrived')
local quarantine_end = tonumber(state[2] or 0)
local last = tonumber(state[3] or 0)
local last_arrival = tonumber(state[5] or 0)
local longest_lease = math.max(tonumber(state[4] or 0), rules.max_lease)
if state[1] ~= server then
  local witness = {}
  if not state[1] and rules.shared then
    witness = redis.call('HMGET', WITNESS, 'run', 'until')
  end
  if not state[1] and redis.call('DEL', prefix .. 'new') == 1 then
    quarantine_end = 0
  elseif witness[1] == server then
    quarantine_end = tonumber(witness[2])
  else
    quarantine_end = now + longest_lease + rules.grace
  end
  redis.call('HSET', KEYS[1], 'run', server, 'until', quarantine_end)
end
if longest_lease ~= tonumber(state[4]) then
  redis.call('HSET', KEYS[1], 'longest', longest_lease)
end
local quarantined = now < quarantine_end

-- Fences grow with each grant. As long as clocks agree they do so even where the last one is lost.
-- They are no times: a holder may reassert one that is ahead of the clock.
local function next_fence()
  last = math.max(last + 1, now)
  return last
end

-- The time of a waiter's arrival. No two are equal, so that they order the waiters.
local function next_arrival()
  last_arrival = math.max(last_arrival + 1, now)
  return last_arrival
end

local REVISION, ACTIVE, QUOTA_OF, PROJECT_CAP_OF, DOMAIN_CAP_OF, MAX_WEIGHT_OF = 1, 2, 3, 4, 5, 6
local GENERATION = 7  -- absent in what releases before 0.4 stored

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
      ready = prefix .. 'ready:' .. name,
      capped = prefix .. 'capped:' .. name,
      tags = prefix .. 'tags:' .. name,
      subqueues = prefix .. 'line:' .. #name .. ':' .. name .. ':',
      limits = limits and cjson.decode(limits),
      cached_sums = {},
      changed_sums = {},
    }
    pool.waiting = redis.call('ZCARD', pool.waiters)
    pools[name] = pool
  end
  return pool
end

-- Store the limits of a pool: [revision, active, quota, cap of a project, cap of a project in a
-- domain, largest weight of a token, generation] in JSON. A replica with an older revision does not
-- undo a change. Revisions are of one generation of the settings, and may begin again with the next.
local function declare(name, text)
  local pool, limits = pool_of(name), cjson.decode(text)
  local known = pool.limits
  local ahead = known and (limits[GENERATION] or 0) - (known[GENERATION] or 0) or 1
  if ahead > 0 or ahead == 0 and limits[REVISION] >= known[REVISION] then
    if redis.call('HGET', prefix .. 'pools', name) ~= text then
      redis.call('HSET', prefix .. 'pools', name, text)
      pool.limits_changed = true
    end
    pool.limits = limits
  end
  return pool
end
