-- record_round: store a polling round once, even if the client repeats the call after a lost reply.
--
-- KEYS  1 rounds (list of JSON, newest first)
-- ARGV  1 the round as JSON   2 number of rounds to keep

if redis.call("LINDEX", KEYS[1], 0) ~= ARGV[1] then
  redis.call("LPUSH", KEYS[1], ARGV[1])
  redis.call("LTRIM", KEYS[1], 0, ARGV[2] - 1)
end
