-- forget: delete what is remembered of attempts without an event since a moment, some buckets at a time.
--
-- KEYS  1 seen (hash n, b; the buckets are <KEYS[1]>:<number>)
-- ARGV  1 first bucket   2 number of buckets   3 oldest UNIX milliseconds to remember
-- Returns {number of attempts forgotten, next bucket or -1}
--
-- publish_once.lua describes the layout of a value, and the mark of a bucket, which is never too old.

local buckets = tonumber(redis.call('HGET', KEYS[1], 'b') or '1')
local first, last = tonumber(ARGV[1]), math.min(tonumber(ARGV[1]) + tonumber(ARGV[2]), buckets) - 1
local oldest, forgotten = tonumber(ARGV[3]), 0
for number = first, last do
  local bucket = KEYS[1] .. ':' .. number
  local all = redis.call('HGETALL', bucket)
  for i = 1, #all, 2 do
    local a, b, c, d, e, f = string.byte(all[i + 1], 11, 16)
    local ms = ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
    if ms < oldest then
      redis.call('HDEL', bucket, all[i])
      forgotten = forgotten + 1
    end
  end
end
if forgotten > 0 then redis.call('HINCRBY', KEYS[1], 'n', -forgotten) end
return { forgotten, last + 1 < buckets and last + 1 or -1 }
