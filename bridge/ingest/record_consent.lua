-- record_consent: remember the latest statement about a consent; of two with the same time the withdrawal counts.
--
-- KEYS  1 consent of a source (hash: consent key -> "<w|g>|<UNIX seconds>|<withdrawals so far>")
-- ARGV  1 consent key   2 w (withdrawn) or g (given)   3 when, UNIX seconds
-- Returns the number of the withdrawal that is in force, 0 while the consent is given.

local what, at, times = string.match(redis.call("HGET", KEYS[1], ARGV[1]) or "", "^(%a)|([^|]*)|(%d+)$")
local number = tonumber(times or "0")
local later = not what or tonumber(at) < tonumber(ARGV[3]) or (tonumber(at) == tonumber(ARGV[3]) and what == "g")
if later then
  if ARGV[2] == "w" and what ~= "w" then number = number + 1 end
  what = ARGV[2]
  redis.call("HSET", KEYS[1], ARGV[1], what .. "|" .. ARGV[3] .. "|" .. number)
end
return what == "w" and number or 0
