-- settle: record the result of each item of a batch.
--
-- KEYS    1 journal (stream)   2 retry (sorted set: event id by due time)   3 deliveries (hash: event id -> record)
--         4 dead (stream)   5 counters of this partition (hash)   6 claims (hash: event id -> times claimed)
-- ARGV    1 group   2 consumer   3 claim (due time that claim_due set; "" for none)   4 now (UNIX seconds)
--         5 number of items, then per item:
--           kind, journal entry id ("" for a retry), event id, and by kind
--           skip   -                     the filter excludes it
--           ok     -                     delivered
--           sent   due, record           handed over, a receipt is awaited until `due` (its record exists since before
--                                        the send)
--           retry  due, record           failed, next try at `due`
--           later  due, record           not the receiver's fault: again at `due`, no try is used (retries only)
--           dead   number, name, value, name, value...   given up; the fields of the dead letter
-- Returns the number of items that this consumer still owned
--
-- Why: one step, so a crash records all of a batch or nothing. A process that stalled has lost its entries to another:
-- its failures no longer count, but its successes do, because the receiver has the event.

local journal, retry, deliveries, dead, state, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local group, consumer, claim, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local counters, owned, at = {}, 0, 6

local function count(name) counters[name] = (counters[name] or 0) + 1 end

local function is_ours(entry, id)
  if entry == '' then
    local score = redis.call('ZSCORE', retry, id)
    return score and tonumber(score) == tonumber(claim)
  end
  local pending = redis.call('XPENDING', journal, group, entry, entry, 1)
  return #pending == 1 and pending[1][2] == consumer
end

local function ack(entry) return redis.call('XACK', journal, group, entry) == 1 end

local function schedule(id, due, record)
  redis.call('HSET', deliveries, id, record)
  redis.call('ZADD', retry, due, id)
end

for _ = 1, tonumber(ARGV[5]) do
  local kind, entry, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  local settled
  if kind == 'skip' then
    settled = ack(entry)
    if settled then count('skipped') end
  elseif kind == 'ok' then
    if entry == '' then
      settled = redis.call('ZREM', retry, id) == 1
      redis.call('HDEL', deliveries, id)
    else
      settled = ack(entry)
    end
    if settled then count('delivered') end
  elseif kind == 'sent' then
    settled = entry == '' or ack(entry)
    -- Without a record the receipt has come already.
    if redis.call('HEXISTS', deliveries, id) == 1 then schedule(id, ARGV[at], ARGV[at + 1]) end
    if settled then count('handed_over') end
    at = at + 2
  elseif kind == 'retry' or kind == 'later' then
    settled = is_ours(entry, id)
    if settled then
      schedule(id, ARGV[at], ARGV[at + 1])
      if entry ~= '' then ack(entry) end
      if kind == 'retry' then count('failed') end
    end
    at = at + 2
  elseif kind == 'dead' then
    local size = tonumber(ARGV[at])
    settled = is_ours(entry, id)
    if settled then
      redis.call('XADD', dead, '*', unpack(ARGV, at + 1, at + size))
      redis.call('HDEL', deliveries, id)
      redis.call('ZREM', retry, id)
      if entry ~= '' then ack(entry) end
      count('dead')
    end
    at = at + 1 + size
  end
  if settled then owned = owned + 1 end
  if settled and entry == '' then redis.call('HDEL', claims, id) end
end

for name, number in pairs(counters) do redis.call('HINCRBY', state, name, number) end
if counters.delivered or counters.handed_over then redis.call('HSET', state, 'delivered_at', now) end
return owned
