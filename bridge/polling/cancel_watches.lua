-- cancel_watches: remove watches and expectations, whatever has urged them.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
--       8 spellings (hash: folded key -> key)
-- ARGV  1.. key and folded key of each
-- Returns 1 for each key that was known, otherwise 0; then the number of watches that are left.

local known = {}
for i = 1, #ARGV, 2 do
  local expected = redis.call("HDEL", KEYS[6], ARGV[i])
  redis.call("ZREM", KEYS[7], ARGV[i])
  if redis.call("HGET", KEYS[8], ARGV[i + 1]) == ARGV[i] then redis.call("HDEL", KEYS[8], ARGV[i + 1]) end
  known[#known + 1] = math.max(expected, remove(ARGV[i]))
end
known[#known + 1] = redis.call("HLEN", KEYS[1])
return known
