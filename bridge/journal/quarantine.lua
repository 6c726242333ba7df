-- quarantine: store an unreadable request or record once, however often it comes.
--
-- KEYS  1 quarantine (stream)   2 known (sorted set: digest -> UNIX seconds)
-- ARGV  1 digest of source and body   2 now   3.. fields of the entry
-- Returns 1 if it is new, 0 if it is stored already.
--
-- The item is written first: a script that fails in between is not rolled back, and then it is stored twice.

if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], 'XX', ARGV[2], ARGV[1])
  return 0
end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 1
