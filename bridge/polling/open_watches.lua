-- open_watches: recheck attempts from now on. An open watch of the same kind keeps its rechecks and its schedule.
--
-- KEYS  1 watches (hash: key -> "<rechecks>|<opened>|<kind>|<details as JSON>")
--       2 open attempts and expectations   3 pointers   4 published attempts that may change
--         (sorted sets: key by UNIX seconds of the next recheck; a key is in the set of its kind)
-- ARGV  1 now   2.. key, due, kind and details of each watch

for i = 2, #ARGV, 4 do
  local key, due, kind, details = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local rechecks, opened, old_kind = parse(redis.call("HGET", KEYS[1], key))
  if old_kind ~= kind then
    if old_kind then remove(key) end
    rechecks = "0"
    redis.call("ZADD", QUEUE[kind], due, key)
  end
  redis.call("HSET", KEYS[1], key, rechecks .. "|" .. (opened or ARGV[1]) .. "|" .. kind .. "|" .. details)
end
