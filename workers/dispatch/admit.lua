-- admit: decide whether a subscription may send now.
--
-- KEYS    1 state of the subscription (hash)
-- ARGV    1 now (UNIX seconds)   2 failures that open the circuit   3 seconds until a probe
-- Returns {word, failures in a row}: go, probe (one event, by this process alone), wait, paused or disabled
--
-- Why: taking the probe and moving the time of the next one are one step, so only one process probes.

local fields = redis.call('HMGET', KEYS[1], 'disabled', 'paused', 'failures', 'open_until')
local failures = tonumber(fields[3] or '0')
if fields[1] then return { 'disabled', failures } end
if fields[2] then return { 'paused', failures } end
if failures < tonumber(ARGV[2]) then return { 'go', failures } end
if tonumber(ARGV[1]) < tonumber(fields[4] or '0') then return { 'wait', failures } end
redis.call('HSET', KEYS[1], 'open_until', string.format('%.3f', tonumber(ARGV[1]) + tonumber(ARGV[3])))
return { 'probe', failures }
