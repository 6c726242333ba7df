-- trim_settled: delete settled deliveries that are too old, and their places in the index by event id.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    1 oldest UNIX milliseconds to keep   2 maximum number
-- Returns the number deleted

local old = redis.call('XRANGE', settled, '-', '(' .. ARGV[1] .. '-0', 'COUNT', ARGV[2])
for _, item in ipairs(old) do remove_from_index(item[1], item[2][2]) end
if #old == 0 then return 0 end
local ms, sequence = string.match(old[#old][1], '^(%d+)-(%d+)$')
redis.call('XTRIM', settled, 'MINID', string.format('%s-%.0f', ms, tonumber(sequence) + 1))
return #old
