-- adopt: take over the pending entries of a dead consumer, and remove the consumer once none is left.
--
-- KEYS    1 journal (stream)
-- ARGV    1 group   2 dead consumer   3 new owner   4 maximum number of entries
-- Returns the number of entries taken over
--
-- Why: removing a consumer also removes its pending entries, so checking and removing must be one step. The delivery
-- count of an entry is kept: it shows which event kills processes.

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])
if #pending == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  return 0
end
local command = { 'XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0 }
for _, entry in ipairs(pending) do command[#command + 1] = entry[1] end
command[#command + 1] = 'JUSTID'
redis.call(unpack(command))
return #pending
