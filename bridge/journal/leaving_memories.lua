-- leaving_memories: what some buckets remember that belongs in another partition.
--
-- KEYS  1 seen (buckets.lua)   2 a name that no key has, as in publish_once.lua
-- ARGV  1 epoch   2 this partition   3 number of partitions   4 first bucket   5 number of buckets
-- Returns {next bucket or -1, field, value, field, value ...}. Afterwards nobody changes them here, as in read_memories.
-- Errors STALE, TRYAGAIN.
--
-- Bytes 13-16 of a field determine where it belongs (bridge/state/partitions.py). A split moves fields only to buckets
-- that are still to come.

local refused = open_memory(KEYS[1], tonumber(ARGV[1]))
if refused then return refused end
local here, partitions, first = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local last = math.min(first + tonumber(ARGV[5]), buckets) - 1
local answer = { last + 1 < buckets and last + 1 or -1 }
for number = first, last do
  local bucket = seen .. ':' .. number
  local all, is_here = call('HGETALL', bucket), false
  for i = 1, #all, 2 do
    if all[i] == MARK then
      is_here = true
    else
      local a, b, c, d = byte(all[i], 13, 16)
      if (a + b * 256 + c * 65536 + d * 16777216) % partitions ~= here then
        answer[#answer + 1], answer[#answer + 2] = all[i], all[i + 1]
      end
    end
  end
  if not is_here then return missing_bucket(bucket) end
end
return answer
