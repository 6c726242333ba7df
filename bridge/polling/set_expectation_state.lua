-- set_expectation_state: replace an expectation that has not changed meanwhile; its deadline no longer counts.
--
-- KEYS  1 expectations (hash: key -> JSON)   2 deadlines (sorted set: key by UNIX seconds) of open expectations
-- ARGV  1 key   2 the JSON it must still have   3 the new JSON
-- Returns 1 replaced, 0 it was met, replaced or cancelled meanwhile.

if redis.call("HGET", KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[3])
redis.call("ZREM", KEYS[2], ARGV[1])
return 1
