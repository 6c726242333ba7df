-- drop_memories: forget what another partition remembers now.
--
-- KEYS  1 seen (buckets.lua)   2 a name that no key has, as in publish_once.lua
-- ARGV  1 epoch   then the fields
-- Returns the number of fields that were deleted.
-- Errors STALE, TRYAGAIN; some fields may have been deleted, and the call can be repeated.

local refused = open_memory(KEYS[1], tonumber(ARGV[1]))
if refused then return refused end
local before, missing, by_bucket = remembered, nil, {}
for i = 2, #ARGV do
  local bucket = bucket_of(ARGV[i])
  by_bucket[bucket] = by_bucket[bucket] or {}
  table.insert(by_bucket[bucket], ARGV[i])
end
for bucket, fields in pairs(by_bucket) do
  if call('HEXISTS', bucket, MARK) == 0 then
    missing = bucket
  else
    remembered = remembered - call('HDEL', bucket, unpack(fields))
  end
end
if remembered ~= before then call('HSET', seen, 'n', remembered) end
if missing then return missing_bucket(missing) end
return before - remembered
