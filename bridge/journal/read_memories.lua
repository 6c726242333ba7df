-- read_memories: what is remembered under some fields, to be moved to another partition.
--
-- KEYS  1 seen (buckets.lua)   2 a name that no key has, as in publish_once.lua
-- ARGV  1 epoch   then the fields
-- Returns the value of each field, or nil. Afterwards nobody changes them here: the epoch refuses any attempt.
-- Errors STALE, TRYAGAIN.

local refused = open_memory(KEYS[1], tonumber(ARGV[1]))
if refused then return refused end
local values = {}
for i = 2, #ARGV do
  local bucket = bucket_of(ARGV[i])
  local value = call('HGET', bucket, ARGV[i])
  if not value and call('HEXISTS', bucket, MARK) == 0 then return missing_bucket(bucket) end
  values[i - 1] = value
end
return values
