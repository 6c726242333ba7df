-- read_expectations: the expectations under some keys.
--
-- KEYS  1 expectations (hash: key -> JSON)
-- ARGV  1.. keys of expectations
-- Returns the JSON of each key, or false for each that is not expected; false if the source has no expectations.

if redis.call("HLEN", KEYS[1]) == 0 then return false end
-- One by one: `unpack` fails from about 8,000 keys on.
local out = {}
for i = 1, #ARGV do out[i] = redis.call("HGET", KEYS[1], ARGV[i]) end
return out
