-- show_tries: append ended tries for those who watch. Repeating it shows them twice.
--
-- KEYS    1 ended tries (stream)
-- ARGV    1 how many are kept   2 seconds after which all are gone, then the JSON of each try
-- Returns the number of tries
--
-- Why: one round trip, and the stream is never left without its expiry.

for i = 3, #ARGV do redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'try', ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return #ARGV - 2
