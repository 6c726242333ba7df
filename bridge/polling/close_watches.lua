-- close_watches: stop rechecking.
--
-- KEYS  1 watches (hash: key -> "<rechecks>|<opened>|<kind>|<details as JSON>")
--       2 open attempts and expectations   3 pointers   4 published attempts that may change
--         (sorted sets: key by UNIX seconds of the next recheck; a key is in the set of its kind)
-- ARGV  1 kind to close, "" for any   2.. keys of watches
-- Returns the number of watches that are left.

for i = 2, #ARGV do
  local _, _, kind = parse(redis.call("HGET", KEYS[1], ARGV[i]))
  if kind and (ARGV[1] == "" or ARGV[1] == kind) then remove(ARGV[i]) end
end
return redis.call("HLEN", KEYS[1])
