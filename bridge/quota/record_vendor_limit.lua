-- record_vendor_limit: store how many calls are left by the vendor's headers.
--
-- KEYS  1 vendor limit (hash: `remaining` calls of `limit` until `resets_at`)
-- ARGV  1 now   2 remaining   3 limit   4 resets_at   5 seconds within which two resets are the same one
--       6 seconds to live
-- Returns 1.

local now, remaining, limit, reset = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local old, old_limit, old_reset = unpack(redis.call("HMGET", KEYS[1], "remaining", "limit", "resets_at"))
if old_reset and tonumber(old_reset) > now and math.abs(old_reset - reset) < tonumber(ARGV[5]) then
  -- Answers may arrive out of order, and calls are in flight, so the number can only fall until a reset.
  remaining, limit, reset = math.min(remaining, tonumber(old)), math.max(limit, tonumber(old_limit)), old_reset
end
redis.call("HSET", KEYS[1], "remaining", string.format("%d", remaining), "limit", string.format("%d", limit))
redis.call("HSET", KEYS[1], "resets_at", reset)
redis.call("EXPIRE", KEYS[1], ARGV[6])
return 1
