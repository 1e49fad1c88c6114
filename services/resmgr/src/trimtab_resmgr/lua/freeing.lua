-- The beginning of the script for a Redis without free memory. Such a server refuses the first write
-- of a script if it needs memory, and no write after one that needs none.
redis.call('DEL', KEYS[1] .. ':none')
