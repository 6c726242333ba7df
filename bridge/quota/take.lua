-- take: spend one call of a source's budget, if one is free. One step, so two processes never spend the same call.
--
-- KEYS  1 calls (sorted set: "<spender>|<token>" by UNIX seconds)   2 pause (string: until, reason)
--       3 vendor limit (hash: `remaining` calls of `limit` until `resets_at`, from the vendor's headers)
-- ARGV  1 now   2 since: later calls count   3 calls that the window allows   4 earlier calls are deleted
--       5 seconds to live   6 spender   7 token   8.. another spender and the calls reserved for it, and so on
-- Returns {"ok"} | {"paused", the pause}
--       | {"used_up", calls left for others, oldest call if the window refuses or "",
--          reset if the vendor's limit refuses or ""}

local now, since, calls = tonumber(ARGV[1]), "(" .. ARGV[2], tonumber(ARGV[3])

local pause = redis.call("GET", KEYS[2])
if pause then
  local till = string.match(pause, "^%S+")
  if till == "inf" or tonumber(till) > now then return {"paused", pause} end
end

local member = ARGV[6] .. "|" .. ARGV[7]
-- The same token again: the client has repeated a call whose reply was lost.
if redis.call("ZSCORE", KEYS[1], member) then return {"ok"} end

local left = calls - redis.call("ZCOUNT", KEYS[1], since, "+inf")
local remaining, limit, reset = unpack(redis.call("HMGET", KEYS[3], "remaining", "limit", "resets_at"))
local limited = reset and tonumber(reset) > now
remaining, limit = tonumber(remaining or 0), tonumber(limit or 0)

local reserved, total = {}, 0
for i = 8, #ARGV, 2 do
  reserved[ARGV[i]] = tonumber(ARGV[i + 1])
  total = total + reserved[ARGV[i]]
end
-- Counting by spender reads the whole window: only where the answer depends on it.
local used = {}
if left <= total or (limited and remaining <= total) then
  for _, call in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], since, "+inf")) do
    local spender = string.match(call, "^[^|]*")
    used[spender] = (used[spender] or 0) + 1
  end
end
-- Calls that the others have used are no longer reserved; where the vendor allows less than the window, fewer are.
local function still_reserved(scale)
  local sum = 0
  for spender, number in pairs(reserved) do
    sum = sum + math.max(0, math.floor(number * scale) - (used[spender] or 0))
  end
  return sum
end

local window_full = left <= still_reserved(1)
local limit_reached = limited and remaining <= still_reserved(math.min(1, limit / calls))
if window_full or limit_reached then
  local oldest = window_full and redis.call("ZRANGEBYSCORE", KEYS[1], since, "+inf", "WITHSCORES", "LIMIT", 0, 1)[2]
  return {"used_up", string.format("%d", left), oldest or "", limit_reached and reset or ""}
end

redis.call("ZADD", KEYS[1], ARGV[1], member)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", ARGV[4])
-- Idle sources leave nothing behind.
redis.call("EXPIRE", KEYS[1], ARGV[5])
if limited then redis.call("HINCRBY", KEYS[3], "remaining", -1) end
return {"ok"}
