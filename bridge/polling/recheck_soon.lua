-- recheck_soon: recheck by `due` at the latest. An open watch keeps its kind and details; its schedule begins again.
-- The watch of a settled attempt is replaced.
--
-- KEYS  1 watches (hash: key -> "<rechecks>|<opened>|<kind>|<details as JSON>")
--       2 open attempts and expectations   3 pointers   4 published attempts that may change
--         (sorted sets: key by UNIX seconds of the next recheck; a key is in the set of its kind)
-- ARGV  1 now   2.. key, due, kind and details of each watch

for i = 2, #ARGV, 4 do
  local key, due, kind, details = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local _, opened, old_kind, old_details = parse(redis.call("HGET", KEYS[1], key))
  if old_kind == "reread" then
    remove(key)
    old_kind, old_details = nil, nil
  end
  kind, details = old_kind or kind, old_details or details
  redis.call("HSET", KEYS[1], key, "0|" .. (opened or ARGV[1]) .. "|" .. kind .. "|" .. details)
  redis.call("ZADD", QUEUE[kind], "LT", due, key)
end
