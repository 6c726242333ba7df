-- begin_repartition: spread attempts over another number of partitions from now on. What is remembered moves afterwards.
--
-- KEYS  1 ab:bridge
-- ARGV  1 number of partitions   2 the layout that spreads by digest   3 number of partitions where none is stored
--       4 UNIX seconds
-- Returns 1, or 0 if what is remembered is still moving because of an earlier change.

local call = redis.call
local held = call('HMGET', KEYS[1], 'partitions', 'layout', 'epoch', 'width', 'from_partitions', 'old_notices')
if held[5] then return 0 end
local before, layout = held[1] or ARGV[3], held[2] or '1'
local width = math.max(tonumber(held[4] or before), tonumber(before), tonumber(ARGV[1]))
call('HSET', KEYS[1], 'from_partitions', before, 'from_layout', layout, 'partitions', ARGV[1], 'layout', ARGV[2],
  'epoch', tonumber(held[3] or '0') + 1, 'width', width, 'move', 'running', 'move_at', '0:0', 'moved', 0,
  'move_begun', ARGV[4], 'move_seen', ARGV[4])
if tonumber(layout) < tonumber(ARGV[2]) then call('HSET', KEYS[1], 'old_notices', 1) end
return 1
