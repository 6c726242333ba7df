-- forget_groups: delete the failure groups that were fixed long ago.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    1 oldest UNIX seconds to keep
-- Returns the number deleted

local forgotten = 0
for _, fingerprint in ipairs(redis.call('HKEYS', groups)) do
  local group = group_of(fingerprint)
  if not group or group.state == 'fixed' and group.since < tonumber(ARGV[1]) then
    redis.call('HDEL', groups, fingerprint)
    forgotten = forgotten + 1
  end
end
return forgotten
