-- erase_sittings: keep the sittings of attempts under digests of their ids, which may name a person.
--
-- KEYS  1 sittings of a source (hash)
-- ARGV  base id and its digest of each attempt
-- Returns the number that were moved
--
-- Why: without them a further sitting would count as the first one, and be mistaken for a known attempt.

local moved = 0
for i = 1, #ARGV, 2 do
  local value = redis.call("HGET", KEYS[1], ARGV[i])
  if value then
    redis.call("HSET", KEYS[1], ARGV[i + 1], value)
    redis.call("HDEL", KEYS[1], ARGV[i])
    moved = moved + 1
  end
end
return moved
