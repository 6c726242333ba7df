-- replace_item: change one item of a short list, wherever it is now.
--
-- KEYS    1 the list
-- ARGV    1 item as it was read   2 new item
-- Returns 1 if it was changed, 0 if it is gone

for at = 0, redis.call('LLEN', KEYS[1]) - 1 do
  if redis.call('LINDEX', KEYS[1], at) == ARGV[1] then
    redis.call('LSET', KEYS[1], at, ARGV[2])
    return 1
  end
end
return 0
