-- end_repartition: record that everything remembered is where it belongs.
--
-- KEYS  1 ab:bridge
-- ARGV  1 the epoch that has ended   2 UNIX seconds
-- Returns 1, or 0 if it had ended before.

local call = redis.call
local held = call('HMGET', KEYS[1], 'epoch', 'from_partitions')
if held[1] ~= ARGV[1] or not held[2] then return 0 end
call('HDEL', KEYS[1], 'from_partitions', 'from_layout', 'move_at')
call('HSET', KEYS[1], 'epoch', tonumber(held[1]) + 1, 'move', 'done', 'move_seen', ARGV[2])
return 1
