-- audit: append one entry, once however often the same call is repeated, and drop entries that are too old.
--
-- KEYS  1 audit (stream)
-- ARGV  1 id of the call   2 stream id before which entries are dropped   3.. fields of the entry
-- Returns 1 if it was appended, 0 if it is there already.

-- A repeat comes within seconds, so few other entries are in between.
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 50)) do
  if entry[2][1] == 'call' and entry[2][2] == ARGV[1] then return 0 end
end
redis.call('XADD', KEYS[1], 'MINID', '~', ARGV[2], '*', 'call', ARGV[1], unpack(ARGV, 3))
return 1
