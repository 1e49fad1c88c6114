-- The homes of pools: the cohort in whose leases each pool is counted.
--
-- KEYS[1] is `trimtab:homes`, a hash: pool -> [cohort, generation, revision] in JSON; the last two
-- are those of the settings that the pool was last declared with. A cohort grants no units of a pool
-- before it is the pool's home. A pool moves only after its home has closed it, with limits that no
-- earlier settings undo, and holds none of it.
--
-- ARGV[1]: [[pool, cohort, generation, revision, entry, from], …] in JSON, where `entry` is that of
--   the first four, and `from` the one that the caller has closed and found empty, or false
-- Returns {status, entry} for each, where the status is 0: the cohort is the home, 1: the entry has
--   another home, 2: the entry is of later settings than the caller's, with another home

local OWN, OTHER, LATER = 0, 1, 2

local replies = {}
for at, asked in ipairs(cjson.decode(ARGV[1])) do
  local name, cohort, generation, revision, entry, from = unpack(asked)
  local text = redis.call('HGET', KEYS[1], name)
  local home = text and cjson.decode(text) or {cohort, -1, -1}
  local is_later = home[2] > generation or home[2] == generation and home[3] > revision
  if home[1] == cohort or from and from == text and not is_later then
    if not is_later and entry ~= text then
      redis.call('HSET', KEYS[1], name, entry)
    end
    replies[at] = {OWN, ''}
  else
    replies[at] = {is_later and LATER or OTHER, text}
  end
end
return replies
