-- replace_watch: set the next recheck of a watch that has not changed since it was read, or remove it.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
-- ARGV  1 key   2 the value it must still have   3 the new value, "" to remove it   4 when the next recheck is due
-- Returns 1 replaced, 0 it was closed or changed meanwhile.

if redis.call("HGET", KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == "" then return remove(ARGV[1]) end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[3])
write(ARGV[1], read(ARGV[1]), ARGV[4])
return 1
