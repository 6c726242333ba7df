-- due_watches: the watches of one queue, the earliest due first. A key whose watch is gone leaves the queue.
--
-- KEYS  1 watches (hash, as in `watch_queues.lua`)   2 one queue (sorted set)   3 expectations (hash: key -> JSON)
-- ARGV  1 latest due time   2 maximum number of watches
-- Returns key, due time, stored watch and stored expectation ("" for none) of each, in one flat list.

local out = {}
local due = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[1], "WITHSCORES", "LIMIT", 0, ARGV[2])
for i = 1, #due, 2 do
  local value = redis.call("HGET", KEYS[1], due[i])
  if value then
    for _, item in ipairs({ due[i], due[i + 1], value, redis.call("HGET", KEYS[3], due[i]) or "" }) do
      out[#out + 1] = item
    end
  else
    redis.call("ZREM", KEYS[2], due[i])
  end
end
return out
