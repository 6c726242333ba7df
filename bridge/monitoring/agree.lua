-- agree: replace an alarm's record unless another process has changed it meanwhile.
--
-- KEYS  1 alarms of a source (hash: kind -> JSON)
-- ARGV  1 kind   2 the record that must still be there ("" = none)   3 the new record
-- Returns the record that is there now: the new one, or the other process's.

local current = redis.call("HGET", KEYS[1], ARGV[1]) or ""
if current ~= ARGV[2] then return current end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[3])
return ARGV[3]
