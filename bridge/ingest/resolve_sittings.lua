-- resolve_sittings: number the sittings that share an attempt id, and remember new ones.
--
-- KEYS  1 sittings of a source (hash: base id -> "<day last changed>|<sitting>@<start>,<sitting>@<start>...";
--         after an erasure a field has the digest of the base id)
-- ARGV  1 today (days since 1970), or "" to remember nothing
--       then for each attempt: base id, its digest, sitting ("" = unknown), start ("" = unknown)
-- Returns the number of each sitting, from 1. An unknown sitting counts as the newest.

local numbers = {}
for i = 2, #ARGV, 4 do
  local base, sitting, start = ARGV[i], ARGV[i + 2], ARGV[i + 3]
  if redis.call("HEXISTS", KEYS[1], ARGV[i + 1]) == 1 then base = ARGV[i + 1] end
  local known = string.match(redis.call("HGET", KEYS[1], base) or "", "|(.*)$") or ""
  local count, number = 0, nil
  for entry in string.gmatch(known, "[^,]+") do
    count = count + 1
    local id, known_start = string.match(entry, "^(.*)@([^@]*)$")
    if id == sitting or (start ~= "" and known_start == start) then number = count end
  end
  if ARGV[1] ~= "" and sitting ~= "" and not number then
    redis.call("HSET", KEYS[1], base, ARGV[1] .. "|" .. (known == "" and "" or known .. ",") .. sitting .. "@" .. start)
    number = count + 1
  end
  numbers[#numbers + 1] = number or math.max(count, 1)
end
return numbers
