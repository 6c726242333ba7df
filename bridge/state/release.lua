-- release: give a lease back, unless it has passed to another holder.
--
-- KEYS  1 lease (string: the holder's token)
-- ARGV  1 token
-- Returns 1 released, 0 not ours any more.

if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])
