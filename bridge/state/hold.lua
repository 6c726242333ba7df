-- hold: take a lease, or renew it. One step, so that repeating it is harmless.
--
-- KEYS  1 lease (string: the holder's token)
-- ARGV  1 token   2 milliseconds until it expires
-- Returns 1 held, 0 another holder has it.

local holder = redis.call("GET", KEYS[1])
if holder and holder ~= ARGV[1] then
  -- It expires later than a lease can: the clock was set back. A holder that is alive renews it.
  if redis.call("PTTL", KEYS[1]) > tonumber(ARGV[2]) then redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
  return 0
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1
