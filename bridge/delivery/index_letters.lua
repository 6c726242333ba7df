-- index_letters: put dead letters of an earlier version into the index and into their failure groups.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    1 now (UNIX seconds), then per dead letter: its stream id, event id, fingerprint, about (groups.py)
-- Returns the number that were added
--
-- Such a letter has no field for its group, so the index has a third member for it.

local now, added = tonumber(ARGV[1]), 0
for i = 2, #ARGV, 4 do
  local entry, id = ARGV[i], ARGV[i + 1]
  local member = 'e' .. id .. '|' .. entry
  if #redis.call('XRANGE', dead, entry, entry) == 1 and not redis.call('ZSCORE', letters, member) then
    local group = enter(ARGV[i + 2], 'dead', ARGV[i + 3], id, now)
    redis.call('ZADD', letters, 0, member, 0, 'g' .. group .. '|' .. entry, 0, 'x' .. entry .. '|' .. group)
    added = added + 1
  end
end
save_groups()
return added
