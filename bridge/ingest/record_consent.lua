-- record_consent: store a statement about a consent if it is the latest; of two with the same time a withdrawal wins.
--
-- KEYS  1 consent of a source (hash: consent key -> "<w|g>|<UNIX seconds>|<number of withdrawals>")
-- ARGV  1 consent key   2 w (withdrawn) or g (given)   3 when, UNIX seconds, or ""   4 now
-- Returns the number of the withdrawal in force, 0 while the consent is given.

local state, at, withdrawals = string.match(redis.call("HGET", KEYS[1], ARGV[1]) or "", "^(%a)|([^|]*)|(%d+)$")
local number = tonumber(withdrawals or "0")
local now, before = tonumber(ARGV[4]), tonumber(at or "-inf")
-- A time in the future would outrank every later statement. What is stored is in the future only if the clock was set back
-- since: in that case the vendor's clock counts, within a day, and a statement without a time is the latest.
local behind = before > now
local stated = tonumber(ARGV[3]) or math.max(now, before)
stated = math.min(stated, behind and before + 86400 or now)
local later = before < stated or (before == stated and (state == "g" or (behind and ARGV[3] == "")))
if later then
  if ARGV[2] == "w" and state ~= "w" then number = number + 1 end
  state = ARGV[2]
  redis.call("HSET", KEYS[1], ARGV[1], state .. "|" .. string.format("%.6f", stated) .. "|" .. number)
end
return state == "w" and number or 0
