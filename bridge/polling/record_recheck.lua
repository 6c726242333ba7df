-- record_recheck: count a recheck and set the next one, or remove the watch after the last.
--
-- KEYS  1 watches (hash: key -> "<rechecks>|<opened>|<kind>|<details as JSON>")
--       2 open attempts and expectations   3 pointers   4 published attempts that may change
--         (sorted sets: key by UNIX seconds of the next recheck; a key is in the set of its kind)
-- ARGV  1 key   2 rechecks counted so far   3 kind   4 when the next recheck is due, "" after the last
-- Returns 1 counted, 0 the watch was closed or opened again, or a repeated call has counted it already.

local rechecks, opened, kind, details = parse(redis.call("HGET", KEYS[1], ARGV[1]))
if rechecks ~= ARGV[2] or kind ~= ARGV[3] then return 0 end
if ARGV[4] == "" then return remove(ARGV[1]) end
local count = string.format("%d", rechecks + 1)
redis.call("HSET", KEYS[1], ARGV[1], count .. "|" .. opened .. "|" .. kind .. "|" .. details)
redis.call("ZADD", QUEUE[kind], ARGV[4], ARGV[1])
return 1
