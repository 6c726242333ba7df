-- copy_audit: copy the next entries of the audit, some of them changed; at its end the copy takes the audit's place.
--
-- KEYS    1 audit (stream)   2 its copy
-- ARGV    1 position: "-", or "(" and the last entry copied   2 maximum number of entries
--         then per changed field: entry, name, value
-- Returns {last entry copied, 1 if there may be more, 0 if it is done, -1 if the copy is another one}
--
-- Why: an entry of a stream cannot be changed. The last step copies what was appended meanwhile and renames, at once. A
-- process that slept through its lease must not replace the whole with a part.

if ARGV[1] == '-' then
  redis.call('DEL', KEYS[2])
else
  local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if not newest or '(' .. newest[1] ~= ARGV[1] then return { ARGV[1], -1 } end
end
local changes = {}
for i = 3, #ARGV, 3 do changes[ARGV[i] .. '|' .. ARGV[i + 1]] = ARGV[i + 2] end
local items = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local last = string.match(ARGV[1], '%d+%-%d+') or '0-0'
for _, item in ipairs(items) do
  local fields = {}
  for i = 1, #item[2], 2 do
    fields[i] = item[2][i]
    fields[i + 1] = changes[item[1] .. '|' .. item[2][i]] or item[2][i + 1]
  end
  redis.call('XADD', KEYS[2], item[1], unpack(fields))
  last = item[1]
end
if #items == tonumber(ARGV[2]) then return { last, 1 } end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[1]) end
return { last, 0 }
