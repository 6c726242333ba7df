-- replay: move a dead letter back into the retry schedule, due at once, with all its tries. Repeating it does nothing.
--
-- KEYS    1 dead (stream)   2 retry (sorted set: event id by due time)   3 deliveries (hash: event id -> record)
-- ARGV    1 stream id of the dead letter   2 event id   3 new record   4 now (UNIX seconds)
-- Returns 1 if it was moved, 0 if the dead letter no longer exists
--
-- Why: removing and scheduling are one step, so a crash neither loses the event nor sends it twice.

if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[1])
return 1
