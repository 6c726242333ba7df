-- claim_due: claim retries that are due, so that no other dispatch process sends them at the same time.
--
-- KEYS    1 retry (sorted set: event id by due time)   2 deliveries (hash: event id -> record)   3 journal (stream)
--         4 claims (hash: event id -> times claimed and not settled)
-- ARGV    1 now (UNIX seconds)   2 lease (seconds until another process may claim them)   3 maximum number of retries
--         4 claims that were never settled after which a retry is returned on its own
-- Returns {due time of the next retry or "", the claim, {event id, record, journal fields or {}, times claimed}...}
--
-- Why: a claim only moves the due time, so a process that dies delays its retries and loses none. A retry that was
-- claimed before and never settled is returned on its own: if the process dies again, that event is the cause. Events
-- that are sent together, in one message, get a second chance together.

local retry, deliveries, journal, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local claim = string.format('%.3f', tonumber(ARGV[1]) + tonumber(ARGV[2]))
local claimed = {}

-- nil also for a record that is not JSON or has no valid entry: it is returned anyway, and the caller gives it up.
local function journal_entry(record)
  local readable, parsed = pcall(cjson.decode, record)
  local entry = readable and type(parsed) == 'table' and parsed.entry
  if type(entry) ~= 'string' or not entry:match('^%d+%-%d+$') then return nil end
  return redis.call('XRANGE', journal, entry, entry)[1]
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', retry, '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local record = redis.call('HGET', deliveries, id)
  if record then
    local suspect = tonumber(redis.call('HGET', claims, id) or 0) >= tonumber(ARGV[4])
    if suspect and #claimed > 0 then break end
    local entry = journal_entry(record)
    redis.call('ZADD', retry, claim, id)
    claimed[#claimed + 1] = { id, record, entry and entry[2] or {}, redis.call('HINCRBY', claims, id, 1) }
    if suspect then break end
  else
    -- The receipt came between two writes of another process: nothing is left to send.
    redis.call('ZREM', retry, id)
    redis.call('HDEL', claims, id)
  end
end
local following = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')
return { following[2] or '', claim, claimed }
