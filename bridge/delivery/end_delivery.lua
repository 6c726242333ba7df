-- end_delivery: end a delivery that waits for a retry or a receipt. Repeating it does nothing.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    1 event id   2 settled delivery (settled.py)   3 counter to raise   4 now (UNIX seconds)
--         5 1 to refuse a delivery that is being sent
-- Returns 1 if it was ended, 0 if there is none, -1 if it is being sent
--
-- Why: removing and remembering are one step. A process that sends it at this moment finds it gone: its success still
-- counts, its failure schedules nothing.

local id, now = ARGV[1], tonumber(ARGV[4])
if ARGV[5] == '1' and redis.call('HEXISTS', claims, id) == 1 then return -1 end
local known = redis.call('HEXISTS', deliveries, id) + (redis.call('ZSCORE', retry, id) and 1 or 0)
if known == 0 then return 0 end
keep(ARGV[2], finish(id, now), '')
save_groups()
redis.call('HINCRBY', counters, ARGV[3], 1)
return 1
