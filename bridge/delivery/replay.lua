-- replay: move a dead letter back into the schedule, due at once, with all its tries. Pressed twice is once.
--
-- KEYS  1 dead   2 retry   3 deliveries   ARGV  1 dead letter's stream id   2 event id   3 record   4 now (UNIX seconds)
-- Returns 1 moved, 0 not there any more. It leaves the dead letters in the step that schedules it.

if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[1])
return 1
