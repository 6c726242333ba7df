-- mark_group: acknowledge a failure group, or open it again.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    1 fingerprint   2 state: acknowledged or open   3 now (UNIX seconds)
-- Returns the state it had, or "" if there is no such group

local group, now = group_of(ARGV[1]), tonumber(ARGV[3])
if not group then return '' end
local before = group.state
if before == ARGV[2] or before == 'fixed' then return before end
group.acknowledged = ARGV[2] == 'acknowledged' and group.failing + group.dead or 0
group.state, group.since = ARGV[2], now
changed[ARGV[1]] = true
save_groups()
return before
