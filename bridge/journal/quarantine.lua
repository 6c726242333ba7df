-- quarantine: keep an unreadable request or record once, however often it is seen.
-- KEYS  1 quarantine (stream)   2 known (sorted set: digest -> UNIX seconds)
-- ARGV  1 digest of source and body   2 now   3.. fields of the entry
-- Returns 1 when it is new, 0 when it is there already.
-- The entry goes first: a script that fails half way is not rolled back.
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], 'XX', ARGV[2], ARGV[1])
  return 0
end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 1
