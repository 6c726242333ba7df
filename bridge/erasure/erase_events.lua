-- erase_events: delete entries of a journal, also for the subscriptions that have read them and not settled them.
--
-- KEYS    1 journal (stream)
-- ARGV    1 number of consumer groups   2.. these groups, then the entries
-- Returns the number of entries that were deleted
--
-- Why: a lane that is sending one of them finds it settled, and then records nothing about it.

local first = 2 + tonumber(ARGV[1])
local entries = {}
for i = first, #ARGV do entries[#entries + 1] = ARGV[i] end
if #entries == 0 or redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, first - 1 do redis.call('XACK', KEYS[1], ARGV[i], unpack(entries)) end
return redis.call('XDEL', KEYS[1], unpack(entries))
