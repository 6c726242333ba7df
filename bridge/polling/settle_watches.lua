-- settle_watches: a reader has published attempts. Watches that were urged since it began to read stay as they are.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
-- ARGV  1 version of the last urge before the vendor was read, "" for any   2 number of attempts that are settled
--       3.. key of each, and "1" if something new was published, without which an announced watch stays
--       then key of each attempt that was announced and published but stays open, and when its next recheck is due
-- Returns the number of watches that are left.

local last = 2 + 2 * tonumber(ARGV[2])
for i = 3, last, 2 do
  local watch = read(ARGV[i])
  if watch and is_unchanged(watch, ARGV[1]) and (watch.announced == "" or ARGV[i + 1] == "1") then
    remove(ARGV[i])
  end
end
for i = last + 1, #ARGV, 2 do
  local watch = read(ARGV[i])
  if watch and is_unchanged(watch, ARGV[1]) and watch.announced ~= "" then
    watch.announced, watch.found, watch.rechecks = "", "", "0"
    write(ARGV[i], watch, ARGV[i + 1])
  end
end
return redis.call("HLEN", KEYS[1])
