-- keep_event: replace the record of a delivery by one that carries its event.
--
-- KEYS  1 deliveries (hash: event id -> record)   2 claims (hash: event id -> times claimed and not settled)
-- ARGV  1 event id   2 record as it was read   3 new record
-- Returns 1 replaced, 0 the record has changed, -1 it is being sent: the sender would write its own copy over it

if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return -1 end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
