-- erase_settled: delete deliveries that have ended, and their places in the index by event id.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    stream ids
-- Returns the number that were deleted

local deleted = 0
for _, entry in ipairs(ARGV) do
  local item = redis.call('XRANGE', settled, entry, entry)[1]
  if item then
    remove_from_index(entry, item[2][2])
    deleted = deleted + redis.call('XDEL', settled, entry)
  end
end
return deleted
