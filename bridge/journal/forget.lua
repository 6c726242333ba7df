-- forget: delete the memory of attempts without an event since a moment, some buckets at a time.
--
-- KEYS  1 seen (buckets.lua)   2 a name that no key has, as in publish_once.lua
-- ARGV  1 epoch   2 first bucket   3 number of buckets   4 oldest UNIX milliseconds to remember
-- Returns {number of attempts forgotten, next bucket or -1}
-- Error STALE: nothing was done; what is here may have a copy elsewhere now.
--
-- publish_once.lua describes the layout of a value, and the mark of a bucket, which is never too old.

local refused = open_memory(KEYS[1], tonumber(ARGV[1]))
if refused then return refused end
local first, oldest = tonumber(ARGV[2]), tonumber(ARGV[4])
local last, forgotten = math.min(first + tonumber(ARGV[3]), buckets) - 1, 0
for number = first, last do
  local bucket = seen .. ':' .. number
  local all = call('HGETALL', bucket)
  for i = 1, #all, 2 do
    local a, b, c, d, e, f = byte(all[i + 1], 11, 16)
    local ms = ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
    if ms < oldest then
      call('HDEL', bucket, all[i])
      forgotten = forgotten + 1
    end
  end
end
if forgotten > 0 then call('HSET', seen, 'n', remembered - forgotten) end
return { forgotten, last + 1 < buckets and last + 1 or -1 }
