-- record_consent: store a statement about a consent if it is the latest; of two with the same time a withdrawal wins.
--
-- KEYS  1 consent of a source (hash: consent key -> "<w|g>|<UNIX seconds>|<number of withdrawals>")
-- ARGV  1 consent key   2 w (withdrawn) or g (given)   3 when, UNIX seconds
-- Returns the number of the withdrawal in force, 0 while the consent is given.

local state, at, withdrawals = string.match(redis.call("HGET", KEYS[1], ARGV[1]) or "", "^(%a)|([^|]*)|(%d+)$")
local number = tonumber(withdrawals or "0")
local later = not state or tonumber(at) < tonumber(ARGV[3]) or (tonumber(at) == tonumber(ARGV[3]) and state == "g")
if later then
  if ARGV[2] == "w" and state ~= "w" then number = number + 1 end
  state = ARGV[2]
  redis.call("HSET", KEYS[1], ARGV[1], state .. "|" .. ARGV[3] .. "|" .. number)
end
return state == "w" and number or 0
