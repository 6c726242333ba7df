-- claim_due: take retries whose time has come, so that no other dispatch process sends them meanwhile.
--
-- KEYS  1 retry (sorted set: event id by due time)   2 deliveries (hash: event id -> record)   3 journal
-- ARGV  1 now (UNIX seconds)   2 lease (seconds until somebody else may take them)   3 how many at most
-- Returns {due time of the next one or "", {event id, record, journal fields or {}}...}
--
-- A claimed retry keeps its place with a later due time: a crash of the claimer delays it, nothing loses it.

local retry, deliveries, journal = KEYS[1], KEYS[2], KEYS[3]
local until_then = string.format('%.3f', tonumber(ARGV[1]) + tonumber(ARGV[2]))
local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', retry, '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local record = redis.call('HGET', deliveries, id)
  if record then
    local entry = redis.call('XRANGE', journal, cjson.decode(record).entry, '+', 'COUNT', 1)[1]
    if not entry or entry[1] ~= cjson.decode(record).entry then entry = { '', {} } end
    redis.call('ZADD', retry, until_then, id)
    claimed[#claimed + 1] = { id, record, entry[2] }
  else
    -- Confirmed or erased between two writes of another process: nothing is left to send.
    redis.call('ZREM', retry, id)
  end
end
local following = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')
return { following[2] or '', until_then, claimed }
