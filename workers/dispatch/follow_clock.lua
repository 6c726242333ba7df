-- follow_clock: detect that the clock was set back, and move the retries of a lane back with it.
--
-- KEYS    1 retry (sorted set: event id by due time)   2 counters of this partition (hash)
-- ARGV    1 now by the state server (UNIX seconds)   2 seconds that the clock may go back without a step
--         3 seconds after which `clock` is written again
-- Returns the seconds by which the retries were moved, or 0
--
-- Why: a due time is only valid by the clock that set it. `clock` is the latest moment that was seen, so a step is
-- noticed even if no process ran at that time. One step, so that two processes do not move the retries twice.

local now, seen = tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[2], 'clock') or '')
if seen and now < seen - tonumber(ARGV[2]) then
  local back, page, at = seen - now, 500, 0
  while true do
    local members = redis.call('ZRANGE', KEYS[1], at, at + page - 1, 'WITHSCORES')
    if #members == 0 then break end
    local moved = {}
    for i = 1, #members, 2 do
      moved[i], moved[i + 1] = string.format('%.3f', tonumber(members[i + 1]) - back), members[i]
    end
    redis.call('ZADD', KEYS[1], unpack(moved))
    at = at + page
  end
  redis.call('HSET', KEYS[2], 'clock', ARGV[1])
  return math.ceil(back)
end
if not seen or now >= seen + tonumber(ARGV[3]) then redis.call('HSET', KEYS[2], 'clock', ARGV[1]) end
return 0
