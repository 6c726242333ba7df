-- due_watches: the watches of one queue, the earliest due first. A key whose watch is gone leaves the queue.
--
-- KEYS  1 watches (hash, as in `watch_queues.lua`)   2 one queue (sorted set)   3 expectations (hash: key -> JSON)
-- ARGV  1 latest due time   2 maximum number of watches   3 "1": the earliest and the latest due by turns, so that what
--         has just become due does not wait behind thousands
-- Returns key, due time, stored watch and stored expectation ("" for none) of each, in one flat list.

local limit = tonumber(ARGV[2])
local earliest = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[1], "WITHSCORES", "LIMIT", 0, limit)
local latest = {}
if ARGV[3] == "1" and #earliest == 2 * limit then
  latest = redis.call("ZREVRANGEBYSCORE", KEYS[2], ARGV[1], "-inf", "WITHSCORES", "LIMIT", 0, limit)
end

local out, taken, count = {}, {}, 0
local function take(key, due)
  if not key or taken[key] or count == limit then return end
  taken[key] = true
  local value = redis.call("HGET", KEYS[1], key)
  if not value then
    redis.call("ZREM", KEYS[2], key)
    return
  end
  count = count + 1
  for _, item in ipairs({ key, due, value, redis.call("HGET", KEYS[3], key) or "" }) do out[#out + 1] = item end
end

for i = 1, #earliest, 2 do
  take(earliest[i], earliest[i + 1])
  take(latest[i], latest[i + 1])
end
return out
