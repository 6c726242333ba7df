-- compare_and_set: replace an alarm's record unless another process has changed it since it was read.
--
-- KEYS    1 alarms of a source (hash: kind -> JSON)
-- ARGV    1 kind   2 the record that must still be there ("" = none)   3 the new record
-- Returns the record that is there now: the new one, or the other process's.
--
-- Why: when several processes assess at once, only one decides, and all publish what it decided.

local current = redis.call("HGET", KEYS[1], ARGV[1]) or ""
if current ~= ARGV[2] then return current end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[3])
return ARGV[3]
