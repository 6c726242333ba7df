-- meet_expectations: remove expectations whose attempts have come, and their watches. One that was registered again
-- meanwhile stays. A watch stays as a pointer while what a webhook announced has not come.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
--       8 spellings (hash: folded key -> key)
-- ARGV  1 version of the last urge before the vendor was read, "" for any
--       2.. key, folded key, the JSON it must still have, and "1" if something new was published, of each expectation

for i = 2, #ARGV, 4 do
  local key = ARGV[i]
  if redis.call("HGET", KEYS[6], key) == ARGV[i + 2] then
    redis.call("HDEL", KEYS[6], key)
    if redis.call("HGET", KEYS[8], ARGV[i + 1]) == key then redis.call("HDEL", KEYS[8], ARGV[i + 1]) end
    redis.call("ZREM", KEYS[7], key)
    local watch = read(key)
    if watch and watch.kind == "expectation" then
      if watch.announced ~= "" and not (ARGV[i + 3] == "1" and is_unchanged(watch, ARGV[1])) then
        watch.kind, watch.deadline = "pointer", watch.announced
        write(key, watch, due_of(key) or watch.opened)
      else
        remove(key)
      end
    end
  end
end
