-- admit: may this subscription send now?
--
-- KEYS  1 state   ARGV  1 now (UNIX seconds)   2 failures that open the circuit   3 seconds until a probe
-- Returns {word, consecutive failures}: go | probe (one event, and nobody else gets to) | wait | paused | disabled

local got = redis.call('HMGET', KEYS[1], 'disabled', 'paused', 'failures', 'open_until')
local failures = tonumber(got[3] or '0')
if got[1] then return { 'disabled', failures } end
if got[2] then return { 'paused', failures } end
if failures < tonumber(ARGV[2]) then return { 'go', failures } end
if tonumber(ARGV[1]) < tonumber(got[4] or '0') then return { 'wait', failures } end
redis.call('HSET', KEYS[1], 'open_until', string.format('%.3f', tonumber(ARGV[1]) + tonumber(ARGV[3])))
return { 'probe', failures }
