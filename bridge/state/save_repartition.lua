-- save_repartition: record that everything before this position is at its home.
--
-- KEYS  1 ab:bridge
-- ARGV  1 epoch of the change   2 partition:bucket   3 memories moved since the last position   4 UNIX seconds
-- Returns 1, or 0 if that change has ended: a mover that paused must not move the position of the next one.

local call = redis.call
local held = call('HMGET', KEYS[1], 'epoch', 'from_partitions')
if held[1] ~= ARGV[1] or not held[2] then return 0 end
call('HSET', KEYS[1], 'move_at', ARGV[2], 'move_seen', ARGV[4])
call('HINCRBY', KEYS[1], 'moved', ARGV[3])
return 1
