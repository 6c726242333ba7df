-- update_circuit: record what a batch shows about the receiver. Only charged failures are passed in.
--
-- KEYS    1 state of the subscription (hash)
-- ARGV    1 now (UNIX seconds)   2 failures of the receiver in a row at the end of the batch
--         3 1 if it answered a try (with a success, or by refusing one event)   4 last error ("" for none)
--         5 failures that open the circuit   6 the same for a receiver that answered recently
--         7 seconds for which an answer is recent   8 seconds until a probe   9 seconds without a success that disable
--         10 reason to disable at once ("" for none)   11 1 if a try succeeded   12 number of tries that failed
-- Returns what the circuit is now: "closed" if this closed it, "open", "disabled", or "" for closed as before
--
-- Why: several processes add to the same run of failures. A receiver that answers every fifth try has runs of failures,
-- too; opening its circuit would delay the events that it takes. A receiver that refuses every event answers, so its
-- circuit stays closed; but days of nothing but failures, of either kind, disable the subscription.

local state, now, answered = KEYS[1], tonumber(ARGV[1]), ARGV[3] == '1'
local failures, word = tonumber(ARGV[2]), ''
local open = redis.call('HEXISTS', state, 'open_until') == 1
if answered then
  if open then word = 'closed' end
  open = false
  redis.call('HDEL', state, 'failing_since', 'open_until')
  redis.call('HSET', state, 'answered_at', ARGV[1])
else
  failures = failures + tonumber(redis.call('HGET', state, 'failures') or '0')
end
redis.call('HSET', state, 'failures', failures)
if ARGV[10] ~= '' then
  redis.call('HSET', state, 'disabled', ARGV[10])
  word = 'disabled'
end
if ARGV[4] ~= '' then redis.call('HSET', state, 'last_error', ARGV[4], 'last_error_at', ARGV[1]) end
if ARGV[11] == '1' then
  redis.call('HDEL', state, 'unsuccessful_since', 'unsuccessful')
elseif tonumber(ARGV[12]) > 0 then
  -- A moment in the future was stored before the clock was set back.
  local begun = tonumber(redis.call('HGET', state, 'unsuccessful_since') or '')
  if not begun or begun > now then
    -- An earlier version stored only since when there was no answer.
    local known = tonumber(redis.call('HGET', state, 'failing_since') or '')
    begun = known and known <= now and known or now
    redis.call('HSET', state, 'unsuccessful_since', string.format('%.3f', begun))
  end
  local tries = redis.call('HINCRBY', state, 'unsuccessful', ARGV[12])
  -- A few failures far apart prove nothing: perhaps there was little to send.
  if now - begun > tonumber(ARGV[9]) and tries >= tonumber(ARGV[5]) then
    local days = math.floor(tonumber(ARGV[9]) / 86400)
    local reason = 'no answer for ' .. days .. ' days'
    if answered or failures < tries then reason = 'nothing but failures for ' .. days .. ' days' end
    redis.call('HSET', state, 'disabled', reason)
    return 'disabled'
  end
end
if failures == 0 then return word end
-- A moment in the future was stored before the clock was set back.
local since = tonumber(redis.call('HGET', state, 'failing_since') or '')
if not since or since > now then
  since = now
  redis.call('HSET', state, 'failing_since', ARGV[1])
end
local age = now - tonumber(redis.call('HGET', state, 'answered_at') or '-inf')
local recent = age >= 0 and age < tonumber(ARGV[7])
if open or failures >= tonumber(recent and ARGV[6] or ARGV[5]) then
  redis.call('HSET', state, 'open_until', string.format('%.3f', now + tonumber(ARGV[8])))
  if word ~= 'disabled' then word = 'open' end
end
return word
