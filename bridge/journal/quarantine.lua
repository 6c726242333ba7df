-- quarantine: store an unreadable request or record once, however often it comes.
--
-- KEYS  1 quarantine (stream)   2 known (sorted set: digest -> UNIX seconds)
--       3 counts of the minute   4 of the hour   5 of the day (hashes, see add_counts.lua)
-- ARGV  1 digest of source and body   2 now   3 field to count it under, "" if it is counted elsewhere
--       4.. fields of the entry
-- Returns 1 if it is new, 0 if it is stored already.
--
-- The item is written first: a script that fails in between is not rolled back, and the item is stored twice.

if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], 'XX', ARGV[2], ARGV[1])
  return 0
end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
if ARGV[3] ~= '' then add_counts({ KEYS[3], KEYS[4], KEYS[5] }, { [ARGV[3]] = 1 }) end
return 1
