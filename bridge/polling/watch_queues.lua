-- watch_queues: what the scripts about watches share: the queue of each kind, reading a stored watch, removing one.
--
-- KEYS  1 watches (hash: key -> "<rechecks>|<opened>|<kind>|<details as JSON>")
--       2 open attempts and expectations   3 pointers   4 published attempts that may change
--         (sorted sets: key by UNIX seconds of the next recheck; a key is in the set of its kind)

local QUEUE = { attempt = KEYS[2], expectation = KEYS[2], pointer = KEYS[3],
  ungraded = KEYS[4], reread = KEYS[4] }
local function parse(value)
  return string.match(value or "", "^(%d+)|([^|]*)|(%a+)|(.*)$")
end
local function remove(key)
  for i = 2, 4 do redis.call("ZREM", KEYS[i], key) end
  return redis.call("HDEL", KEYS[1], key)
end
