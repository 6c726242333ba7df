-- replay_batch: schedule the next items of a replay job, and record how far it got. Repeating it does nothing.
--
-- KEYS    1..9 as in outcomes.lua   10 progress of the job in this partition (hash)   11 journal (stream)
-- ARGV    1 now (UNIX seconds)   2 subscription   3 the position before, "" at the beginning   4 the position after
--         5 1 if nothing follows   6 consumer group of the subscription   7 items excluded   8 items without an event
--         9 items that are gone   10 epoch of the progress when the items were read; per item: kind (`letter`, `event`
--         or `archived`), its entry in the dead letters or in the journal, or position in the archive, event id, record
-- Returns 1, or 0 if the job has passed this position already, or an erasure has begun since
--
-- Why: scheduling and moving the position are one step, so a process that is killed replays nothing twice and loses
-- nothing. What is under way already is left alone: its record may be in the hands of a sender.

local progress, journal = KEYS[10], KEYS[11]
local now, name, group = tonumber(ARGV[1]), ARGV[2], ARGV[6]
if (redis.call('HGET', progress, name .. '|at') or '') ~= ARGV[3] then return 0 end
if redis.call('HEXISTS', progress, name .. '|done') == 1 then return 0 end
-- What was read from an archive may be about a person who is being erased.
if (redis.call('HGET', progress, 'epoch') or '0') ~= ARGV[10] then return 0 end

local counts = { excluded = tonumber(ARGV[7]), failed = tonumber(ARGV[8]), gone = tonumber(ARGV[9]) }
counts.replayed, counts.waiting = 0, 0
local function count(word) counts[word] = counts[word] + 1 end

local function less(x, y)
  local a, b = string.match(x, '^(%d+)-(%d+)$')
  local c, d = string.match(y, '^(%d+)-(%d+)$')
  if #a ~= #c then return #a < #c end
  if a ~= c then return a < c end
  if #b ~= #d then return #b < #d end
  return b < d
end

local read_to

-- The group's last entry that was read; "0-0" if no dispatch process has served the subscription yet.
local function last_read()
  if read_to then return read_to end
  read_to = '0-0'
  if redis.call('EXISTS', journal) == 0 then return read_to end
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', journal)) do
    local facts = {}
    for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
    if facts['name'] == group then read_to = facts['last-delivered-id'] end
  end
  return read_to
end

-- Its first delivery has not ended: it comes anyway.
local function is_first_delivery_open(entry)
  if less(last_read(), entry) then return true end
  return #redis.call('XPENDING', journal, group, entry, entry, 1) > 0
end

local first, size, placed = 11, 4, 0
local items = (#ARGV - first + 1) / size

-- Due now, each a little after the one before: they are sent in the order in which they were read.
local function schedule(id, record, log)
  redis.call('HSET', deliveries, id, record)
  redis.call('ZADD', retry, string.format('%.6f', now - (items - placed) / 100000), id)
  if log then redis.call('HSET', tries, id, NO_GROUP .. log) end
  count('replayed')
end

-- A dead letter of the same event would be a second copy of what is sent now.
local function replace_letters(id, record)
  local log
  for _, member in ipairs(redis.call('ZRANGEBYLEX', letters, '[e' .. id .. '|', '(e' .. id .. '}')) do
    local letter = remove_letter(string.match(member, '|([^|]*)$'), now)
    log = letter and letter.tries or log
  end
  schedule(id, record, log)
end

local kinds = {
  letter = function(entry, id, record)
    local letter = remove_letter(entry, now)
    if not letter then return count('gone') end
    if redis.call('HEXISTS', deliveries, id) == 1 then return count('waiting') end
    schedule(id, record, letter.tries)
  end,
  event = function(entry, id, record)
    if redis.call('HEXISTS', deliveries, id) == 1 or is_first_delivery_open(entry) then return count('waiting') end
    replace_letters(id, record)
  end,
  archived = function(_, id, record)
    if redis.call('HEXISTS', deliveries, id) == 1 then return count('waiting') end
    replace_letters(id, record)
  end,
}

for i = first, #ARGV, size do
  placed = placed + 1
  kinds[ARGV[i]](ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
save_groups()
for word, number in pairs(counts) do
  if number > 0 then redis.call('HINCRBY', progress, name .. '|' .. word, number) end
end
redis.call('HSET', progress, name .. '|at', ARGV[4])
if ARGV[5] == '1' then redis.call('HSET', progress, name .. '|done', 1) end
return 1
