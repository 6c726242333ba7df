-- claim_due: take retries whose time has come, so that no other dispatch process sends them meanwhile.
--
-- KEYS  1 retry (sorted set: event id by due time)   2 deliveries (hash: event id -> record)   3 journal
--       4 claims (hash: event id -> times taken and not settled)
-- ARGV  1 now (UNIX seconds)   2 lease (seconds until somebody else may take them)   3 how many at most
-- Returns {due time of the next one or "", the claim, {event id, record, journal fields or {}, times taken}...}
--
-- A claimed retry keeps its place with a later due time: a crash of the claimer delays it, nothing loses it.
-- What was taken before and never settled is handed out alone: if the process dies again, it died of that one.

local retry, deliveries, journal, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local claim = string.format('%.3f', tonumber(ARGV[1]) + tonumber(ARGV[2]))
local claimed = {}

-- nil also for a record that is no JSON or names no entry: it is handed out all the same, and given up by the caller.
local function journal_entry(record)
  local readable, parsed = pcall(cjson.decode, record)
  local entry = readable and type(parsed) == 'table' and parsed.entry
  if type(entry) ~= 'string' or not entry:match('^%d+%-%d+$') then return nil end
  return redis.call('XRANGE', journal, entry, entry)[1]
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', retry, '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local record = redis.call('HGET', deliveries, id)
  if record then
    local suspect = redis.call('HEXISTS', claims, id) == 1
    if suspect and #claimed > 0 then break end
    local found = journal_entry(record)
    redis.call('ZADD', retry, claim, id)
    claimed[#claimed + 1] = { id, record, found and found[2] or {}, redis.call('HINCRBY', claims, id, 1) }
    if suspect then break end
  else
    -- Confirmed or erased between two writes of another process: nothing is left to send.
    redis.call('ZREM', retry, id)
    redis.call('HDEL', claims, id)
  end
end
local following = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')
return { following[2] or '', claim, claimed }
