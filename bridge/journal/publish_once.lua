-- publish_once: append new versions of attempts, remember them, store the requests. One partition, atomically.
--
-- KEYS  1 journal (stream)   2 seen (buckets.lua, which is prepended to this)
--       3 requests (stream)   4 counts of the minute   5 of the hour   6 of the day (hashes, see add_counts.lua)
--       7 index of event ids (the hashes are <KEYS[7]>:<day>:<first two characters of the id>)
--         No key has this very name. So while the keys of a slot move one by one, a server refuses the call before it
--         begins (TRYAGAIN: some of its keys are missing), and it never fails between an event and its memory.
-- ARGV  1 today (days since 1970)   2 number of records R   3 number of requests Q   4 seconds to keep the index   5 epoch
--       then R x 10: field, digest (6; or 12 with that of an earlier version, which counts as the same), order (5, big-endian; from the vendor's API
--                    followed by the id of the journal's last entry before the vendor was asked), origin (w|p|a|b|o), expected revision, type, event id, source, attempt id or subject, event JSON
--       then Q x 11: outcome ("" = the highest of its records), number of its records (in order, after the records
--                    without a request), outcome so far, id, source, received, reason, headers, body, attempt ids, number of the secret
-- Returns {R x {outcome, revision, journal id}, Q x outcome}
--       outcome: published | revised | duplicate | stale | revise (build revision+1 and call again expecting revision)
-- Error STALE: nothing was done; load the partitions again.
-- Error TRYAGAIN: a bucket that this call needs is missing. Some records may have been published, no request is stored;
--       the call can be repeated.
--
-- `expected revision`: 0 for the first call with an event of revision 1; n > 0 to append revision n+1, which is done
-- only if the remembered revision is still n. A request with a record that must be revised is not stored by this call.
--
-- The event is written first, the memory second: a script that fails in between is not rolled back, and the repeated
-- call appends a second event with the same id. The other order would lose the event.
--
-- Memory of one attempt (value of its field, all integers big-endian):
--   1 flags: 1 seen by webhook, 2 seen by poll or backfill, 4 seen by poll or backfill first; the five bits above them:
--     revision / 256 (8191 is the highest revision)
--   2-3 day first seen, since 1970   4 days until the other path saw it (255: 255 or more)
--   5 revision % 256   6-10 order   11-16, 17-18 journal id (ms, sequence)
--   19.. digests, 6 bytes each, newest last, at most 8

local MAX_DIGESTS, MAX_REVISION = 8, 8191
local journal, requests, counts = KEYS[1], KEYS[3], { KEYS[4], KEYS[5], KEYS[6] }
local today, index_kept = tonumber(ARGV[1]), ARGV[4]

local refused = open_memory(KEYS[2], tonumber(ARGV[5]))
if refused then return refused end
local remembered_before = remembered

local function pack_id(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  ms, seq = tonumber(ms), math.min(tonumber(seq), 65535)
  local high, low = math.floor(ms / 4294967296), ms % 4294967296
  return char(math.floor(high / 256) % 256, high % 256,
    math.floor(low / 16777216), math.floor(low / 65536) % 256, math.floor(low / 256) % 256, low % 256,
    math.floor(seq / 256), seq % 256)
end

local function unpack_id(value)
  local a, b, c, d, e, f, g, h = byte(value, 11, 18)
  return string.format('%.0f-%d', ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f, g * 256 + h)
end

-- By day, so that the index expires by itself, and in many hashes, so that each remains a compact listpack.
local function add_to_index(event_id, packed)
  local name = KEYS[7] .. ':' .. today .. ':' .. sub(event_id, 1, 2)
  call('HSET', name, sub(event_id, 3, 18), packed)
  if call('HLEN', name) == 1 then call('EXPIRE', name, index_kept) end
end

-- As numbers: Lua compares strings by the server's locale.
local function order_of(bytes)
  local a, b, c, d, e = byte(bytes, 1, 5)
  return (((a * 256 + b) * 256 + c) * 256 + d) * 256 + e
end

local tally = {}
local function count(source, origin, outcome)
  local name = source .. '|' .. origin .. '|' .. outcome
  tally[name] = (tally[name] or 0) + 1
end

-- The value after `path` saw the attempt. The bridge itself (o) is not a path. A webhook that comes after the API has
-- shown the attempt is counted as `late`.
local function seen_by(value, path, source)
  if path == 'o' then return value end
  local flags, d1, d2 = byte(value, 1, 3)
  local bit = path == 'w' and 1 or 2
  if math.floor(flags / bit) % 2 == 1 then return value end
  if path == 'w' and math.floor(flags / 4) % 2 == 1 then count(source, 'webhook', 'late') end
  local later = math.min(math.max(today - (d1 * 256 + d2), 0), 255)
  return char(flags + bit) .. sub(value, 2, 3) .. char(later) .. sub(value, 5)
end

-- Whether the version in memory was published after the entry `id` ("": unknown).
local function is_published_since(value, id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if not ms then return false end
  local last_ms, last_seq = string.match(unpack_id(value), '^(%d+)-(%d+)$')
  ms, last_ms = tonumber(ms), tonumber(last_ms)
  return last_ms > ms or last_ms == ms and tonumber(last_seq) > tonumber(seq)
end

local function revision_of(value) return byte(value, 5) + 256 * math.floor(byte(value, 1) / 8) end

-- a: a poll of what a webhook has announced.
local ORIGINS = { w = 'webhook', p = 'poll', a = 'poll', b = 'backfill', o = 'bridge' }
local FIRST = { w = 1, p = 6, a = 6, b = 6, o = 0 }
-- Entries that this call has appended: one page may have two versions of an attempt.
local own = {}
local missing
local results, at = {}, 6
for r = 1, tonumber(ARGV[2]) do
  local field, path = ARGV[at], ARGV[at + 3]
  local order, read_after = sub(ARGV[at + 2], 1, 5), sub(ARGV[at + 2], 6)
  local digest, former = sub(ARGV[at + 1], 1, 6), sub(ARGV[at + 1], 7)
  local expected = tonumber(ARGV[at + 4])
  local source, origin = ARGV[at + 7], ORIGINS[path]
  local bucket = bucket_of(field)
  local value = call('HGET', bucket, field)
  if not value and call('HEXISTS', bucket, MARK) == 0 then
    missing = bucket
    break
  end
  local outcome, revision, id, packed

  local function append()
    local entry = call('XADD', journal, '*', 'id', ARGV[at + 6], 'type', ARGV[at + 5], 'source', source,
      'attempt', ARGV[at + 8], 'event', ARGV[at + 9])
    local packed = pack_id(entry)
    add_to_index(ARGV[at + 6], packed)
    own[entry] = true
    return entry, packed
  end

  if not value then
    if expected > 0 then
      -- The attempt was forgotten between the two calls: the caller builds revision 1 again.
      outcome, revision, id = 'revise', 0, '0-0'
    else
      id, packed = append()
      call('HSET', bucket, field, char(FIRST[path], math.floor(today / 256), today % 256, 0, 1)
        .. order .. packed .. digest)
      count_one_more()
      outcome, revision = 'published', 1
      count(source, origin, 'published')
      if path == 'a' then count(source, origin, 'announced') end
    end
  else
    revision, id = revision_of(value), unpack_id(value)
    local newest = sub(value, -6)
    local known, last = false, newest == digest or newest == former
    for i = 19, #value, 6 do
      local earlier = sub(value, i, i + 5)
      known = known or earlier == digest or earlier == former
    end
    if last or (known and path == 'w') then
      outcome = 'duplicate'
    elseif order_of(order) < order_of(sub(value, 6, 10)) then
      outcome = 'stale'
    elseif expected ~= revision and order_of(order) == 0 and not own[id] and is_published_since(value, read_after) then
      -- Without an order, the answer may be older than what was published while the vendor was asked.
      outcome = 'stale'
    elseif revision >= MAX_REVISION then
      -- Another event would have the id of the one before it, and receivers would drop it as a copy.
      outcome = 'stale'
    elseif expected == revision then
      id, packed = append()
      local grown = revision + 1
      local digests = sub(value, 19) .. digest
      if #digests > MAX_DIGESTS * 6 then digests = sub(digests, -MAX_DIGESTS * 6) end
      value = seen_by(value, path, source)
      local flags = byte(value, 1) % 8 + 8 * math.floor(grown / 256)
      call('HSET', bucket, field, char(flags) .. sub(value, 2, 4) .. char(grown % 256) .. order .. packed .. digests)
      outcome, revision = 'revised', grown
    else
      outcome = 'revise'
    end
    if outcome == 'duplicate' or outcome == 'stale' then
      local updated = seen_by(value, path, source)
      if updated ~= value then call('HSET', bucket, field, updated) end
    end
    if outcome ~= 'revise' then count(source, origin, outcome) end
  end
  results[r] = { outcome, revision, id }
  at = at + 10
end

if remembered ~= remembered_before then call('HSET', seen, 'n', remembered) end
if missing then
  add_counts(counts, tally)
  return missing_bucket(missing)
end

-- A request has the highest outcome of its records. The same table is in entries.py.
local RANK = { published = 4, revised = 3, duplicate = 1, stale = 1 }
local record, stored = 1, {}
for q = 1, tonumber(ARGV[3]) do
  local outcome, highest = ARGV[at], ARGV[at + 2]
  for _ = 1, tonumber(ARGV[at + 1]) do
    local result = results[record][1]
    if result == 'revise' then
      highest = 'revise'
    elseif highest ~= 'revise' and RANK[result] > (RANK[highest] or 0) then
      highest = result
    end
    record = record + 1
  end
  if outcome == '' then outcome = highest == 'stale' and 'duplicate' or highest end
  if outcome ~= 'revise' then
    call('XADD', requests, '*', 'id', ARGV[at + 3], 'source', ARGV[at + 4], 'at', ARGV[at + 5], 'outcome', outcome,
      'reason', ARGV[at + 6], 'headers', ARGV[at + 7], 'body', ARGV[at + 8], 'attempts', ARGV[at + 9],
      'secret', ARGV[at + 10])
    if ARGV[at + 1] == '0' then count(ARGV[at + 4], 'webhook', outcome) end
    count(ARGV[at + 4], 'webhook', 'requests')
  end
  stored[q] = outcome
  at = at + 11
end

add_counts(counts, tally)
return { results, stored }
