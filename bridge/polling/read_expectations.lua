-- read_expectations: the expectations under some keys, or under other spellings of them.
--
-- KEYS  1 expectations (hash: key -> JSON)   2 spellings (hash: folded key -> key)
-- ARGV  1.. key and folded key of each expectation
-- Returns the key as it was registered and the JSON of each, "" and "" for each key that is not expected; false if the
-- source has no expectations.

if redis.call("HLEN", KEYS[1]) == 0 then return false end
-- One by one: `unpack` fails from about 8,000 keys on.
local out = {}
for i = 1, #ARGV, 2 do
  local key = ARGV[i]
  local value = redis.call("HGET", KEYS[1], key)
  if not value then
    key = redis.call("HGET", KEYS[2], ARGV[i + 1]) or ""
    value = redis.call("HGET", KEYS[1], key)
  end
  out[i], out[i + 1] = value and key or "", value or ""
end
return out
