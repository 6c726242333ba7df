-- register_expectations: store expectations together with their watches, so that both have the same times. What was
-- registered or pointed to under a key before takes the new times; the watch of an attempt that the vendor lists as
-- open keeps its own, and is only brought forward.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
--       8 spellings (hash: folded key -> key)
-- ARGV  1 now   2.. key, JSON, due, deadline, reference and folded key of each expectation

local now = tonumber(ARGV[1])
for i = 2, #ARGV, 6 do
  local key, due, deadline = ARGV[i], ARGV[i + 2], ARGV[i + 3]
  local watch, old_due = read(key), due_of(key)
  redis.call("HSET", KEYS[6], key, ARGV[i + 1])
  redis.call("HSET", KEYS[8], ARGV[i + 5], key)
  redis.call("ZADD", KEYS[7], deadline, key)
  if watch and (watch.kind == "attempt" or watch.kind == "ungraded") then
    if not old_due or tonumber(due) < tonumber(old_due) then
      watch.rechecks = "0"
    else
      due = old_due
    end
  else
    watch = watch or { opened = ARGV[1], announced = "" }
    if tonumber(due) > now and watch.announced ~= "" then
      -- A webhook that no recheck has followed yet is followed by one; after that the registered time counts.
      if watch.rechecks == "0" and old_due then
        due, watch.announced = old_due, ARGV[1]
      else
        watch.announced = ""
      end
    end
    watch.kind, watch.rechecks, watch.deadline, watch.reference = "expectation", "0", deadline, ARGV[i + 4]
    watch.found = ""
  end
  watch.version = next_version()
  write(key, watch, due)
end
