-- change_repartition: stop the mover, or let it go on.
--
-- KEYS  1 ab:bridge
-- ARGV  1 the state that it is in   2 the new one
-- Returns 1, or 0 if it is in another state now.

if redis.call('HGET', KEYS[1], 'move') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'move', ARGV[2])
return 1
