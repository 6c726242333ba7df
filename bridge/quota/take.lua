-- take: spend one call of a source's budget, if one is left. One step: two processes never spend the same call.
--
-- KEYS  1 calls (sorted set: "<spender>|<token>" by UNIX seconds)   2 pause (string: until, reason)
--       3 learned (hash: `remaining` calls of `limit` until `resets_at`, as the vendor says)
-- ARGV  1 now   2 since: later calls count   3 calls that the window allows   4 what is older is forgotten
--       5 seconds to live   6 spender   7 token, then another spender and the calls kept for it, and so on
-- Returns {"ok"} | {"paused", the pause}
--       | {"used_up", calls left for others, oldest call if the window refuses or "", reset if the vendor does or ""}

local now, since, calls = tonumber(ARGV[1]), "(" .. ARGV[2], tonumber(ARGV[3])

local pause = redis.call("GET", KEYS[2])
if pause then
  local till = string.match(pause, "^%S+")
  if till == "inf" or tonumber(till) > now then return {"paused", pause} end
end

local member = ARGV[6] .. "|" .. ARGV[7]
-- The same token again: the client repeats a call whose answer was lost.
if redis.call("ZSCORE", KEYS[1], member) then return {"ok"} end

local left = calls - redis.call("ZCOUNT", KEYS[1], since, "+inf")
local remaining, limit, reset = unpack(redis.call("HMGET", KEYS[3], "remaining", "limit", "resets_at"))
local holds = reset and tonumber(reset) > now
remaining, limit = tonumber(remaining or 0), tonumber(limit or 0)

local kept, total = {}, 0
for i = 8, #ARGV, 2 do
  kept[ARGV[i]] = tonumber(ARGV[i + 1])
  total = total + kept[ARGV[i]]
end
-- Finding out who has used what reads the window: only where it matters.
local used = {}
if left <= total or (holds and remaining <= total) then
  for _, other in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], since, "+inf")) do
    local spender = string.match(other, "^[^|]*")
    used[spender] = (used[spender] or 0) + 1
  end
end
-- What the others have used already is not kept for them; where the vendor allows less than the window, less is kept.
local function still_kept(scale)
  local sum = 0
  for spender, number in pairs(kept) do
    sum = sum + math.max(0, math.floor(number * scale) - (used[spender] or 0))
  end
  return sum
end

local full = left <= still_kept(1)
local over = holds and remaining <= still_kept(math.min(1, limit / calls))
if full or over then
  local oldest = full and redis.call("ZRANGEBYSCORE", KEYS[1], since, "+inf", "WITHSCORES", "LIMIT", 0, 1)[2]
  return {"used_up", string.format("%d", left), oldest or "", over and reset or ""}
end

redis.call("ZADD", KEYS[1], ARGV[1], member)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", ARGV[4])
-- Idle sources leave nothing behind.
redis.call("EXPIRE", KEYS[1], ARGV[5])
if holds then redis.call("HINCRBY", KEYS[3], "remaining", -1) end
return {"ok"}
