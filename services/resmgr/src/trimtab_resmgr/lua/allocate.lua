-- Grants or refuses each request, in order.
--
-- ARGV: nine for each request: place of its pool in KEYS, token, project, domain, weight, lease in
--   microseconds, quota, cap of the project, cap of the project in the domain ("" is no cap)
-- Returns three for each: the limit that refused (0 is granted), units of the pool that are held
--   now, units that the limit counted

local GRANTED, QUOTA, PROJECT, PROJECT_DOMAIN = 0, 1, 2, 3

local function allocate(pool, token, project, domain, weight, lease, quota, cap, domain_cap)
  if held(pool, token) then
    redis.call('ZADD', pool.leases, now + lease, token)
    return GRANTED, tonumber(redis.call('HGET', pool.sums, 't')), 0
  end
  local sums = redis.call('HMGET', pool.sums, fields(project, domain))
  local total = tonumber(sums[1] or 0)
  local of_project = tonumber(sums[2] or 0)
  local of_domain = tonumber(sums[3] or 0)
  if total + weight > quota then
    return QUOTA, total, total
  end
  if cap and of_project + weight > cap then
    return PROJECT, total, of_project
  end
  if domain_cap and of_domain + weight > domain_cap then
    return PROJECT_DOMAIN, total, of_domain
  end
  redis.call('HSET', pool.tokens, token, cmsgpack.pack(weight, project, domain))
  redis.call('ZADD', pool.leases, now + lease, token)
  add(pool, weight, project, domain)
  return GRANTED, total + weight, 0
end

local answers = {}
for at = 1, #ARGV, 9 do
  local by, total, counted = allocate(
    pool_at(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]),
    tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]),
    tonumber(ARGV[at + 8]))
  local size = #answers
  answers[size + 1], answers[size + 2], answers[size + 3] = by, total, counted
end
return answers
