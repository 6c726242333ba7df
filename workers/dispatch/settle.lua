-- settle: write down what became of a batch of deliveries. One step: a crash leaves all of it or nothing.
--
-- KEYS  1 journal   2 retry   3 deliveries   4 dead   5 state (counters of this partition)   6 claims
-- ARGV  1 group   2 consumer   3 claim (due time that claim_due gave; "" where none)   4 now (UNIX seconds)
--       5 number of items, then per item:
--         kind, journal entry id ("" for a retry), event id, and by kind
--         skip   -                     not wanted by the filter
--         ok     -                     delivered
--         sent   record                handed over, a receipt must follow (its record is there since before the send)
--         retry  due, record           failed, next try at `due`
--         later  due, record           not the receiver's fault: again at `due`, no try used (retries only)
--         dead   number, name, value, name, value...   given up; fields of the dead letter
-- Returns the number of items that were still ours.
--
-- A process that was paused for longer than it may be silent has lost its entries to another: what it learnt about
-- a failure no longer counts, only a success does (the receiver has the event, whoever asks).

local journal, retry, deliveries, dead, state, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local group, consumer, claim, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local counted, ours, at = {}, 0, 6

local function count(name) counted[name] = (counted[name] or 0) + 1 end

local function mine(entry, id)
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
  local held
  if kind == 'skip' then
    held = ack(entry)
    if held then count('skipped') end
  elseif kind == 'ok' then
    if entry == '' then
      held = redis.call('ZREM', retry, id) == 1
      redis.call('HDEL', deliveries, id)
    else
      held = ack(entry)
    end
    if held then count('delivered') end
  elseif kind == 'sent' then
    held = entry == '' or ack(entry)
    if redis.call('HEXISTS', deliveries, id) == 1 then redis.call('HSET', deliveries, id, ARGV[at]) end
    if held then count('handed_over') end
    at = at + 1
  elseif kind == 'retry' or kind == 'later' then
    held = mine(entry, id)
    if held then
      schedule(id, ARGV[at], ARGV[at + 1])
      if entry ~= '' then ack(entry) end
      if kind == 'retry' then count('failed') end
    end
    at = at + 2
  elseif kind == 'dead' then
    local size = tonumber(ARGV[at])
    held = mine(entry, id)
    if held then
      redis.call('XADD', dead, '*', unpack(ARGV, at + 1, at + size))
      redis.call('HDEL', deliveries, id)
      redis.call('ZREM', retry, id)
      if entry ~= '' then ack(entry) end
      count('dead')
    end
    at = at + 1 + size
  end
  if held then ours = ours + 1 end
  if held and entry == '' then redis.call('HDEL', claims, id) end
end

for name, number in pairs(counted) do redis.call('HINCRBY', state, name, number) end
if counted.delivered or counted.handed_over then redis.call('HSET', state, 'delivered_at', now) end
return ours
