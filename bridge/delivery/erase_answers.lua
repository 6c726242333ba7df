-- erase_answers: replace dead letters by copies without their tries, because an answer mentions a person to be erased.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    per dead letter: its stream id, the record of its delivery without texts of errors
-- Returns the number that were replaced
--
-- Why: the event is somebody else's and must not be lost with the answer, and an entry of a stream cannot be changed.
-- The failure groups count the copy as they counted the letter.

local replaced = 0
for i = 1, #ARGV, 2 do
  local entry = ARGV[i]
  local item = redis.call('XRANGE', dead, entry, entry)[1]
  if item then
    local fields, id, group = {}, '', nil
    for at = 1, #item[2], 2 do
      local name, value = item[2][at], item[2][at + 1]
      if name == 'id' then id = value end
      if name == 'group' then group = value end
      if name == 'delivery' then value = ARGV[i + 1] end
      if name ~= 'tries' and name ~= 'record' and name ~= 'group' then
        fields[#fields + 1], fields[#fields + 2] = name, value
      end
    end
    group = group or indexed_group(entry)
    if group then fields[#fields + 1], fields[#fields + 2] = 'group', group end
    local copy = redis.call('XADD', dead, '*', unpack(fields))
    redis.call('ZADD', letters, 0, 'e' .. id .. '|' .. copy)
    redis.call('ZREM', letters, 'e' .. id .. '|' .. entry)
    if group then
      redis.call('ZADD', letters, 0, 'g' .. group .. '|' .. copy)
      redis.call('ZREM', letters, 'g' .. group .. '|' .. entry)
    end
    redis.call('XDEL', dead, entry)
    replaced = replaced + 1
  end
end
return replaced
