-- trim_limit: the oldest entry of a stream to keep. Deletes nothing.
--
-- KEYS  1 stream
-- ARGV  1 oldest UNIX milliseconds to keep   2 number of groups that hold nothing back, then these
--       the rest: groups that will read all of it, created or not yet
-- Returns {entry id or "" to keep everything, 1 if a group needs older entries, else 0}
--
-- XTRIM does not respect pending entries. Ids are compared as text: a Lua number would lose precision.

local function less(x, y)
  local a, b = string.match(x, '^(%d+)-(%d+)$')
  local c, d = string.match(y, '^(%d+)-(%d+)$')
  if #a ~= #c then return #a < #c end
  if a ~= c then return a < c end
  if #b ~= #d then return #b < #d end
  return b < d
end
if redis.call('EXISTS', KEYS[1]) == 0 then return { '', 0 } end
local floor, held, awaited, released = ARGV[1] .. '-0', 0, {}, {}
for i = 3, #ARGV do
  if i <= 2 + tonumber(ARGV[2]) then released[ARGV[i]] = true else awaited[ARGV[i]] = true end
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local facts = {}
  for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
  awaited[facts['name']] = nil
  if not released[facts['name']] then
    local need = facts['last-delivered-id']
    if facts['pending'] > 0 then need = redis.call('XPENDING', KEYS[1], facts['name'])[2] end
    if less(need, floor) then floor, held = need, 1 end
  end
end
-- A subscription whose group does not exist yet begins with the oldest entry.
if next(awaited) then return { '', 1 } end
return { floor, held }
