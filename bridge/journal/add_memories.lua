-- add_memories: remember what another partition remembered. A field that is here already stays as it is.
--
-- KEYS  1 seen (buckets.lua)   2 a name that no key has, as in publish_once.lua
-- ARGV  1 epoch   then pairs of field and value
-- Returns the number of fields that were added.
-- Errors STALE, TRYAGAIN; some fields may have been added, and the call can be repeated.

local refused = open_memory(KEYS[1], tonumber(ARGV[1]))
if refused then return refused end
local before, missing = remembered, nil
for i = 2, #ARGV, 2 do
  local bucket = bucket_of(ARGV[i])
  if call('HEXISTS', bucket, MARK) == 0 then
    missing = bucket
    break
  end
  if call('HSETNX', bucket, ARGV[i], ARGV[i + 1]) == 1 then count_one_more() end
end
if remembered ~= before then call('HSET', seen, 'n', remembered) end
if missing then return missing_bucket(missing) end
return remembered - before
