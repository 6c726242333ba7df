-- postpone_watch: set the next recheck of a watch whose new state cannot be stored, unless something has urged it.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
-- ARGV  1 key   2 version of the last urge before the vendor was read   3 when the next recheck is due

local watch = read(ARGV[1])
if watch and is_unchanged(watch, ARGV[2]) then
  for i = 2, 4 do redis.call("ZADD", KEYS[i], "XX", ARGV[3], ARGV[1]) end
end
