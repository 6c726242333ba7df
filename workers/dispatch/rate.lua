-- rate: let as many events through as the rate of a subscription allows now.
--
-- KEYS    1 what was let through lately (list of "slot number", oldest first)
-- ARGV    1 now by the state server (UNIX seconds)   2 events   3 in each stretch of this many seconds   4 events wanted
-- Returns {number that may be sent, seconds until more may be sent ("" if all may)}
--
-- Why: one step, so that all processes together keep the rate. It holds for every stretch of that length, wherever the
-- stretch begins. Time is counted in slots of a hundredth of the stretch, and a slot counts until its end has left the
-- stretch, so the list stays short. Slots in the future were stored before the clock was set back.

local now, most, per, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local length = per / 100
local slot = math.floor(now / length)

local function parts(text)
  local at, number = text:match('^(%d+) (%d+)$')
  return tonumber(at), tonumber(number)
end

local sent, oldest, last, last_number = 0, nil, nil, 0
for _, text in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local at, number = parts(text)
  if not oldest and (at > slot or (at + 1) * length + per <= now) then
    redis.call('LPOP', KEYS[1])
  else
    sent, oldest, last, last_number = sent + number, oldest or at, at, number
  end
end
local granted = math.max(0, math.min(wanted, most - sent))
if granted > 0 then
  if last and last >= slot then
    redis.call('LSET', KEYS[1], -1, string.format('%d %d', last, last_number + granted))
  else
    redis.call('RPUSH', KEYS[1], string.format('%d %d', slot, granted))
  end
  redis.call('PEXPIRE', KEYS[1], math.ceil(per * 2000))
end
if granted == wanted then return { granted, '' } end
return { granted, string.format('%.3f', math.max(0.001, ((oldest or slot) + 1) * length + per - now)) }
