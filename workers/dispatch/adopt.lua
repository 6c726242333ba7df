-- adopt: take over what a dead consumer left pending, and remove it once nothing is left.
--
-- KEYS  1 journal   ARGV  1 group   2 dead consumer   3 new owner   4 how many at most
-- Returns the number of entries taken over. The count of deliveries stays: it tells poison from bad luck.

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[4], ARGV[2])
if #pending == 0 then
  -- In this same step: a consumer deleted with entries pending would take them with it.
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  return 0
end
local ids = {}
for i, one in ipairs(pending) do ids[i] = one[1] end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, unpack(ids), 'JUSTID')
return #ids
