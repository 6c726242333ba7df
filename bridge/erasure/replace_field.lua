-- replace_field: change one field of a hash if it still has the value that was read.
--
-- KEYS    1 the hash
-- ARGV    1 field   2 value as it was read   3 new value, "" to delete the field
-- Returns 1 if it was changed, 0 if it has another value now

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
