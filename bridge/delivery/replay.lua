-- replay: move dead letters back into the retry schedule, due at once, with all their tries. Repeating it does nothing.
--
-- KEYS    1..9 as outcomes.lua says
-- ARGV    1 now (UNIX seconds), then per dead letter: its stream id, event id, new record
-- Returns the number of dead letters that were moved; the others no longer exist
--
-- Why: removing and scheduling are one step, so a crash neither loses the event nor sends it twice.

local now, moved = tonumber(ARGV[1]), 0
for i = 2, #ARGV, 3 do
  local letter = remove_letter(ARGV[i], now)
  if letter then
    redis.call('HSET', deliveries, ARGV[i + 1], ARGV[i + 2])
    redis.call('ZADD', retry, ARGV[1], ARGV[i + 1])
    if letter.tries then redis.call('HSET', tries, ARGV[i + 1], NO_GROUP .. letter.tries) end
    moved = moved + 1
  end
end
save_groups()
return moved
