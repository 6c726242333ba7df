-- erase_deliveries: end deliveries without a trace of them: no try, no place in a failure group, no settled delivery.
--
-- KEYS    1..9 as in outcomes.lua
-- ARGV    1 now (UNIX seconds)   2.. event ids
-- Returns the number of event ids
--
-- Why: one step, so that a process that is sending one of them finds it settled and records nothing.

for i = 2, #ARGV do finish(ARGV[i], tonumber(ARGV[1])) end
save_groups()
return #ARGV - 1
