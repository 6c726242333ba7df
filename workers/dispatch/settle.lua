-- settle: record the result of each item of a batch.
--
-- KEYS    1..9 as in outcomes.lua   10 journal (stream)   11..13 counts of the minute, the hour and the day (hashes)
-- ARGV    1 group   2 consumer   3 claim (due time that claim_due set; "" for none)   4 now (UNIX seconds)
--         5 subscription   6 number of items, then per item:
--           kind, journal entry id ("" for a retry), event id, and by kind
--           skip   -                     the filter excludes it
--           ok     settled, try, answer, lag   delivered; `settled` as settled.py packs it, `answer` its beginning
--           sent   due, record, try, lag       handed over, a receipt is awaited until `due` (its record exists since
--                                              before the send)
--           retry  due, record, try, fingerprint, about       failed, next try at `due`
--           later  due, record           again at `due`, no try is used: it is not the receiver's fault, or a digest is due
--           dead   try, fingerprint, about, number, name, value, name, value...   given up; the fields of the dead letter
-- Returns the number of items that this consumer still owned
--
-- A try is a line as in outcomes.lua, "" for none; fingerprint and about show why it failed (groups.py); a lag is the
-- name of the count for its bucket, "" for none (delivery_lag.py).
--
-- Why: one step, so a crash leaves a batch recorded as a whole or not at all. A process that stalled has lost its entries
-- to another: its failures no longer count, but its successes do, because the receiver has the event.

local journal = KEYS[10]
local group, consumer, claim, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local counts, lags, owned, at = {}, {}, 0, 7

local function count(numbers, name) numbers[name] = (numbers[name] or 0) + 1 end

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

-- kind -> number of its arguments (of `dead` without the fields), and what it does; returns whether it counts.
local kinds = {
  skip = { 0, function(entry) return ack(entry) and 'skipped' end },
  ok = { 4, function(entry, id, first)
    if entry ~= '' then
      if not ack(entry) then return false end
      keep(ARGV[first], '', ARGV[first + 2])
      return 'delivered'
    end
    local ours = redis.call('ZREM', retry, id) == 1
    local log = with_try(finish(id, now), ARGV[first + 1])
    if ours then keep(ARGV[first], log, '') end
    return ours and 'delivered'
  end },
  sent = { 4, function(entry, id, first)
    local ours = entry == '' or ack(entry)
    -- If there is no record, the receipt has come already.
    if redis.call('HEXISTS', deliveries, id) == 1 then
      schedule(id, ARGV[first], ARGV[first + 1])
      recover(id, ARGV[first + 2], now)
    end
    return ours and 'handed_over'
  end },
  retry = { 5, function(entry, id, first)
    if not is_ours(entry, id) then return false end
    schedule(id, ARGV[first], ARGV[first + 1])
    fail(id, ARGV[first + 2], ARGV[first + 3], ARGV[first + 4], now)
    if entry ~= '' then ack(entry) end
    return 'failed'
  end },
  later = { 2, function(entry, id, first)
    if not is_ours(entry, id) then return false end
    schedule(id, ARGV[first], ARGV[first + 1])
    if entry ~= '' then ack(entry) end
    return 'later'
  end },
  dead = { 4, function(entry, id, first)
    if not is_ours(entry, id) then return false end
    local fields = {}
    for i = first + 4, first + 3 + tonumber(ARGV[first + 3]) do fields[#fields + 1] = ARGV[i] end
    local before, log = tries_of(id)
    bury(id, fields, with_try(log, ARGV[first]), ARGV[first + 1], ARGV[first + 2], now)
    finish(id, now)
    if entry ~= '' then ack(entry) end
    return 'dead'
  end },
}

for _ = 1, tonumber(ARGV[6]) do
  local kind, entry, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local size, settle_item = unpack(kinds[kind])
  local counted = settle_item(entry, id, at + 3)
  if counted then
    count(counts, counted)
    owned = owned + 1
    if (kind == 'ok' or kind == 'sent') and ARGV[at + 2 + size] ~= '' then count(lags, ARGV[at + 2 + size]) end
    if entry == '' then redis.call('HDEL', claims, id) end
  end
  at = at + 3 + size + (kind == 'dead' and tonumber(ARGV[at + 6]) or 0)
end

save_groups()
counts.later = nil
local figures = {}
for name, number in pairs(counts) do
  redis.call('HINCRBY', counters, name, number)
  figures[ARGV[5] .. '|' .. name] = number
end
for name, number in pairs(lags) do figures[ARGV[5] .. '|' .. name] = number end
add_counts({ unpack(KEYS, 11, 13) }, figures)
if counts.delivered or counts.handed_over then redis.call('HSET', counters, 'delivered_at', ARGV[4]) end
return owned
