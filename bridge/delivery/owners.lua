-- owners: the subscriptions that may have a delivery of an event: under way, a dead letter, or settled.
--
-- KEYS    of each subscription, in one partition, three:
--         deliveries (hash: event id -> record)   letters (sorted set: index of the dead letters)
--         settled (stream; the buckets of its index by event id have names that begin like its own, see outcomes.lua)
-- ARGV    event id   its key in the index   number of that key, which chooses the bucket   classes of buckets
--         first and last member of the event among the dead letters
-- Returns the places of the subscriptions, from 1.

local id, short, number, classes, first, last = unpack(ARGV)
local owners = {}

local function is_settled(stream)
  for class = 0, tonumber(classes) - 1 do
    local bucket = string.format('%s:ids:%d:%d', stream, class, tonumber(number) % 2 ^ class)
    if redis.call('HEXISTS', bucket, short) == 1 then return true end
  end
  return false
end

for place = 1, #KEYS / 3 do
  local deliveries, letters, settled = unpack(KEYS, 3 * place - 2, 3 * place)
  if redis.call('HEXISTS', deliveries, id) == 1
    or redis.call('ZRANGEBYLEX', letters, first, last, 'LIMIT', 0, 1)[1]
    or is_settled(settled) then
    owners[#owners + 1] = place
  end
end
return owners
