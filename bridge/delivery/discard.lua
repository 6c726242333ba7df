-- discard: delete dead letters permanently, and count them. Repeating it does nothing.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    1 now (UNIX seconds)   2 counter to raise   3.. stream ids
-- Returns the number of dead letters that were deleted

local now, deleted = tonumber(ARGV[1]), 0
for i = 3, #ARGV do
  if remove_letter(ARGV[i], now) then deleted = deleted + 1 end
end
save_groups()
if deleted > 0 then redis.call('HINCRBY', counters, ARGV[2], deleted) end
return deleted
