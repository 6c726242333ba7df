-- add_counts: add numbers to the counts of a minute, an hour and a day. A function that is prepended to other scripts.
--
-- add_counts(names, numbers)   `names`: the three hashes, as counts.py names them   `numbers`: field -> number
--
-- Only a new field sets the expiry of its hash, so that an existing field costs one command a hash.

local COUNTS_KEPT = { 26 * 3600, 35 * 86400, 400 * 86400 }
local function add_counts(names, numbers)
  for step, name in ipairs(names) do
    for field, number in pairs(numbers) do
      if redis.call('HINCRBY', name, field, number) == number then redis.call('EXPIRE', name, COUNTS_KEPT[step]) end
    end
  end
end
