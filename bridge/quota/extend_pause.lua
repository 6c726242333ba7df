-- extend_pause: pause a source, unless a pause that ends later is in force: two callers cannot shorten each other's.
--
-- KEYS  1 pause (string: "<until> <reason>", until in UNIX seconds or "inf")
-- ARGV  1 until   2 the string to store
-- Returns 1 stored, 0 the existing pause stays.

local pause = redis.call("GET", KEYS[1])
if pause then
  local till = string.match(pause, "^%S+")
  if till == "inf" or (ARGV[1] ~= "inf" and tonumber(till) >= tonumber(ARGV[1])) then return 0 end
end
redis.call("SET", KEYS[1], ARGV[2])
return 1
