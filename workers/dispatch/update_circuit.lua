-- update_circuit: record what a batch says about the receiver. Only charged failures are passed in.
--
-- KEYS    1 state of the subscription (hash)
-- ARGV    1 now (UNIX seconds)   2 failures in a row at the end of the batch   3 1 if a try succeeded   4 last error
--         5 failures that open the circuit   6 seconds until a probe   7 seconds without success that disable
--         8 reason to disable at once ("" for none)
-- Returns the failures in a row
--
-- Why: several processes add to the same row of failures.

local state, now, succeeded = KEYS[1], tonumber(ARGV[1]), ARGV[3] == '1'
local failures = tonumber(ARGV[2])
if succeeded then
  redis.call('HDEL', state, 'failing_since', 'open_until')
else
  failures = failures + tonumber(redis.call('HGET', state, 'failures') or '0')
end
redis.call('HSET', state, 'failures', failures)
if ARGV[8] ~= '' then redis.call('HSET', state, 'disabled', ARGV[8]) end
if failures == 0 then return 0 end
redis.call('HSETNX', state, 'failing_since', ARGV[1])
redis.call('HSET', state, 'last_error', ARGV[4], 'last_error_at', ARGV[1])
if failures >= tonumber(ARGV[5]) then
  redis.call('HSET', state, 'open_until', string.format('%.3f', now + tonumber(ARGV[6])))
  if now - tonumber(redis.call('HGET', state, 'failing_since')) > tonumber(ARGV[7]) then
    redis.call('HSET', state, 'disabled', 'no success for ' .. math.floor(tonumber(ARGV[7]) / 86400) .. ' days')
  end
end
return failures
