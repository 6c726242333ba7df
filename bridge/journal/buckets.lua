-- buckets: the memory of a partition, for the scripts that are appended to this one.
--
-- KEYS  none; open_memory gets the key of the header (hash n, b, m, e; the buckets are <header>:<number>)
--
-- The buckets grow by linear hashing, one split at a time, so that each remains a compact listpack.
--
-- Buckets are not declared keys: while a slot moves from one server to another, one may be away although the header is
-- here, and its attempts would look new. So every bucket holds MARK, and one without it is not used. Its name hashes to
-- 0, so that no split moves it; its value is that of an attempt which is never forgotten. Buckets of earlier versions
-- have no marks: `m` counts the first buckets that have been given one.
--
-- `e` is the epoch of the partitions: a caller with a later one raises it, and one with an earlier one is refused,
-- because what it looks for may have moved to another partition.

local PER_BUCKET, MARK, MARK_VALUE, MARKED_AT_ONCE = 64, '\0\0\0\0!', string.rep('\255', 16), 1000
local call, byte, char, sub = redis.call, string.byte, string.char, string.sub
local seen, remembered, buckets, marked, half

-- An error reply if the caller must load the partitions again, otherwise nil.
local function open_memory(header, epoch)
  local size = call('HMGET', header, 'n', 'b', 'm', 'e')
  local known = tonumber(size[4] or '0')
  if epoch < known then return redis.error_reply('STALE epoch ' .. epoch .. ', the partitions have ' .. known) end
  if epoch > known then call('HSET', header, 'e', epoch) end
  seen, remembered, buckets, marked = header, tonumber(size[1] or '0'), tonumber(size[2] or '1'), tonumber(size[3] or '0')
  half = 1
  while half * 2 <= buckets do half = half * 2 end
  if marked < buckets then
    local last = math.min(marked + MARKED_AT_ONCE, buckets) - 1
    for i = marked, last do call('HSET', seen .. ':' .. i, MARK, MARK_VALUE) end
    marked = last + 1
    call('HSET', seen, 'b', buckets, 'm', marked)
  end
end

local function missing_bucket(bucket)
  return redis.error_reply('TRYAGAIN ' .. bucket .. ' is missing: its slot is moving, or it was deleted')
end

local function hash(field)
  local a, b, c, d = byte(field, 1, 4)
  return a + b * 256 + c * 65536 + d * 16777216
end

local function bucket_of(field)
  local h = hash(field)
  local i = h % (half * 2)
  if i >= buckets then i = h % half end
  return seen .. ':' .. i
end

-- The fields that move are written with two commands: a command for each would double the append-only file. A bucket
-- that is not here is split by a later call.
local function split_one()
  local target = buckets
  local from = seen .. ':' .. (target - half)
  local all = call('HGETALL', from)
  local moved, names, is_here = { MARK, MARK_VALUE }, {}, false
  for i = 1, #all, 2 do
    if hash(all[i]) % (half * 2) == target then
      moved[#moved + 1], moved[#moved + 2] = all[i], all[i + 1]
      names[#names + 1] = all[i]
    elseif all[i] == MARK then
      is_here = true
    end
  end
  if not is_here then return end
  call('HSET', seen .. ':' .. target, unpack(moved))
  if #names > 0 then call('HDEL', from, unpack(names)) end
  buckets, marked = buckets + 1, marked + 1
  call('HSET', seen, 'b', buckets, 'm', marked)
  if half * 2 <= buckets then half = half * 2 end
end

-- After a field was added.
local function count_one_more()
  remembered = remembered + 1
  if remembered > buckets * PER_BUCKET and marked == buckets then split_one() end
end
