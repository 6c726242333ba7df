-- outcomes: what the scripts that change deliveries share: tries, failure groups, dead letters, settled deliveries.
--
-- KEYS    1..9, of one subscription and partition:
--         retry (sorted set: event id by due time)   deliveries (hash: event id -> record)
--         claims (hash: event id -> times claimed)   tries (hash: event id -> fingerprint or dashes, then the tries)
--         groups (hash: fingerprint -> JSON)         settled (stream: what has ended)
--         dead (stream: dead letters)   letters (sorted set: index of the dead letters)   counters (hash)
--
-- A try is a line: JSON, and after a tab its answer as JSON, which is removed first when the tries get too long. A
-- failure group counts the deliveries in it as `failing` and `dead`; with none it is fixed, and a failure opens it again.
-- bridge/delivery/groups.py explains the members of a group, bridge/delivery/settled.py a settled delivery.

local retry, deliveries, claims, tries, groups, settled, dead, letters, counters = unpack(KEYS, 1, 9)
local NO_GROUP, OTHER, MAX_GROUPS = '------------', '000000000000', 100
local MAX_TRIES, MAX_BYTES, MAX_SETTLED_BYTES = 20, 3072, 1024
-- Classes of the buckets of the index by event id: 2 ^ class buckets, each with at most about 64 deliveries.
local MAX_CLASS = 15
-- An acknowledged group opens again when it has twice as many deliveries, and at least this many more.
local GROWN = 10
local loaded, changed, number_of_groups = {}, {}, nil

-- false for what is not a group: a new one takes its place. A counter that an earlier version has not written is 0.
local function readable_group(stored)
  local readable, group = pcall(cjson.decode, stored or '')
  if not readable or type(group) ~= 'table' or not tonumber(group.first) then return false end
  for _, name in ipairs({ 'reason', 'message', 'state' }) do
    if type(group[name]) ~= 'string' then return false end
  end
  for _, name in ipairs({ 'failing', 'dead', 'failures', 'acknowledged', 'reopened' }) do
    group[name] = tonumber(group[name]) or 0
  end
  group.since = tonumber(group.since) or group.first
  return group
end

local function group_of(fingerprint)
  if loaded[fingerprint] == nil then
    loaded[fingerprint] = readable_group(redis.call('HGET', groups, fingerprint))
  end
  return loaded[fingerprint]
end

local function set_state(group, state, now)
  if group.state ~= 'open' and state == 'open' then group.reopened = group.reopened + 1 end
  group.state, group.since = state, now
end

local function new_group(fingerprint, about, now)
  number_of_groups = (number_of_groups or redis.call('HLEN', groups)) + 1
  local group = cjson.decode(about)
  group.first, group.since, group.state = now, now, 'open'
  group.failing, group.dead, group.failures, group.acknowledged, group.reopened = 0, 0, 0, 0, 0
  loaded[fingerprint] = group
  return group
end

-- A delivery has failed: it becomes a member of the group, as `failing` or `dead`. `about`: JSON of reason, status,
-- message. Returns the fingerprint of its group, which is OTHER where there are too many groups.
local function enter(fingerprint, member, about, id, now)
  local group = group_of(fingerprint)
  if not group and (number_of_groups or redis.call('HLEN', groups)) >= MAX_GROUPS then
    fingerprint, about = OTHER, '{"reason":"other","status":null,"message":"failures beyond the number of groups"}'
    group = group_of(OTHER)
  end
  group = group or new_group(fingerprint, about, now)
  group[member], group.failures = group[member] + 1, group.failures + 1
  group.last, group.example = now, id
  local grown = math.max(2 * group.acknowledged, group.acknowledged + GROWN)
  if group.state == 'fixed' or group.state == 'acknowledged' and group.failing + group.dead >= grown then
    set_state(group, 'open', now)
  end
  changed[fingerprint] = true
  return fingerprint
end

local function leave(fingerprint, member, now)
  local group = group_of(fingerprint)
  if not group then return end
  group[member] = math.max(0, group[member] - 1)
  if group.failing + group.dead == 0 and group.state ~= 'fixed' then set_state(group, 'fixed', now) end
  changed[fingerprint] = true
end

local function save_groups()
  for fingerprint in pairs(changed) do
    redis.call('HSET', groups, fingerprint, cjson.encode(loaded[fingerprint]))
  end
end

local function tries_of(id)
  local stored = redis.call('HGET', tries, id)
  if not stored then return NO_GROUP, '' end
  return string.sub(stored, 1, #NO_GROUP), string.sub(stored, #NO_GROUP + 1)
end

-- The tries within the limit: without the oldest answers, then without the oldest tries but the first.
local function shortened(log, bytes)
  local lines, size = {}, #log
  for line in string.gmatch(log, '[^\n]+') do lines[#lines + 1] = line end
  for i = 1, #lines - 1 do
    if size <= bytes then break end
    local plain = string.match(lines[i], '^[^\t]*')
    size, lines[i] = size - #lines[i] + #plain, plain
  end
  while #lines > MAX_TRIES or (size > bytes and #lines > 2) do
    size = size - #lines[2] - 1
    table.remove(lines, 2)
  end
  return table.concat(lines, '\n')
end

local function with_try(log, line)
  if line == '' then return log end
  return shortened(log == '' and line or log .. '\n' .. line, MAX_BYTES)
end

-- A try of a delivery has failed and another will follow.
local function fail(id, line, fingerprint, about, now)
  local before, log = tries_of(id)
  local group = enter(fingerprint, 'failing', about, id, now)
  if before ~= NO_GROUP then leave(before, 'failing', now) end
  redis.call('HSET', tries, id, group .. with_try(log, line))
end

-- A delivery fails no longer: it leaves its group. Its tries are kept, with one more, until it has ended.
local function recover(id, line, now)
  local before, log = tries_of(id)
  if before ~= NO_GROUP then leave(before, 'failing', now) end
  redis.call('HSET', tries, id, NO_GROUP .. with_try(log, line))
end

-- A delivery is no longer under way. Returns its tries.
local function finish(id, now)
  local before, log = tries_of(id)
  if before ~= NO_GROUP then leave(before, 'failing', now) end
  redis.call('ZREM', retry, id)
  redis.call('HDEL', deliveries, id)
  redis.call('HDEL', claims, id)
  redis.call('HDEL', tries, id)
  return log
end

local class_now

local function size_class()
  if class_now then return class_now end
  local length = redis.call('XLEN', settled)
  class_now = 0
  while length >= 64 and class_now < MAX_CLASS do length, class_now = length / 2, class_now + 1 end
  return class_now
end

local function bucket(short, class)
  local a, b = string.byte(short, 1, 2)
  return string.format('%s:ids:%d:%d', settled, class, (a * 256 + b) % 2 ^ class)
end

-- A delivery has ended: `record` is packed as settled.py describes; its bytes 2 to 9 are the beginning of its event id.
local function keep(record, log, answer)
  local class, short = size_class(), string.sub(record, 2, 9)
  local fields = { 'd', record .. string.char(class) }
  if log ~= '' then fields[3], fields[4] = 'l', shortened(log, MAX_SETTLED_BYTES) end
  if answer ~= '' then fields[#fields + 1], fields[#fields + 2] = 'a', answer end
  local entry = redis.call('XADD', settled, '*', unpack(fields))
  redis.call('HSET', bucket(short, class), short, entry)
end

-- Remove a settled delivery from the index. `record`: with its class, as it is stored.
local function remove_from_index(entry, record)
  local short = string.sub(record, 2, 9)
  local name = bucket(short, string.byte(record, -1))
  if redis.call('HGET', name, short) == entry then redis.call('HDEL', name, short) end
end

-- A delivery was given up: `fields` are those of its dead letter.
local function bury(id, fields, log, fingerprint, about, now)
  local group = enter(fingerprint, 'dead', about, id, now)
  fields[#fields + 1], fields[#fields + 2] = 'group', group
  if log ~= '' then fields[#fields + 1], fields[#fields + 2] = 'tries', log end
  local entry = redis.call('XADD', dead, '*', unpack(fields))
  redis.call('ZADD', letters, 0, 'e' .. id .. '|' .. entry, 0, 'g' .. group .. '|' .. entry)
end

-- The group of a dead letter of an earlier version, which has no field for it: index_letters.lua has put it here.
local function indexed_group(entry)
  local member = redis.call('ZRANGEBYLEX', letters, '[x' .. entry .. '|', '(x' .. entry .. '}')[1]
  if not member then return nil end
  redis.call('ZREM', letters, member)
  return string.sub(member, #entry + 3)
end

-- Remove a dead letter. Returns its fields, or false if it is gone.
local function remove_letter(entry, now)
  local item = redis.call('XRANGE', dead, entry, entry)[1]
  if not item then return false end
  local fields = {}
  for i = 1, #item[2], 2 do fields[item[2][i]] = item[2][i + 1] end
  redis.call('XDEL', dead, entry)
  redis.call('ZREM', letters, 'e' .. (fields.id or '') .. '|' .. entry)
  local group = fields.group or indexed_group(entry)
  if group and redis.call('ZREM', letters, 'g' .. group .. '|' .. entry) == 1 then leave(group, 'dead', now) end
  return fields
end
