-- due_watches: the watches of one queue, the earliest due first.
--
-- KEYS  1 watches (hash, as in `watch_queues.lua`)   2 one queue (sorted set)
-- ARGV  1 latest due time   2 maximum number of watches, -1 for all
-- Returns key, due time and stored watch of each, in one flat list.

local out = {}
local due = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[1], "WITHSCORES", "LIMIT", 0, ARGV[2])
for i = 1, #due, 2 do
  out[#out + 1] = due[i]
  out[#out + 1] = due[i + 1]
  out[#out + 1] = redis.call("HGET", KEYS[1], due[i])
end
return out
