-- admit: decide whether a subscription may send now.
--
-- KEYS    1 state of the subscription (hash)   2 pauses (hash: lane -> 1)
-- ARGV    1 now (UNIX seconds)   2 seconds from one probe to the next   3 this lane
--         4 1 if this lane is sending
-- Returns {word, failures in a row, at least 1 since the last success}: go, probe (one event, only by this process),
-- wait, paused or disabled
--
-- Why: taking the probe and moving the time of the next one are one step, so only one process probes. If the
-- next probe is further ahead than it can be, it was set before the clock was set back.

local now, every = tonumber(ARGV[1]), tonumber(ARGV[2])
local fields = redis.call('HMGET', KEYS[1], 'disabled', 'paused', 'failures', 'open_until', 'unsuccessful_since')
local failures, open_until = math.max(tonumber(fields[3] or '0'), fields[5] and 1 or 0), tonumber(fields[4] or '')
-- The command that paused waits until each lane has asked while sending nothing.
if fields[2] and ARGV[4] == '0' then redis.call('HSETNX', KEYS[2], ARGV[3], 1) end
if fields[1] then return { 'disabled', failures } end
if fields[2] then return { 'paused', failures } end
if not open_until then return { 'go', failures } end
if now < open_until and open_until <= now + every then return { 'wait', failures } end
redis.call('HSET', KEYS[1], 'open_until', string.format('%.3f', now + every))
return { 'probe', failures }
