-- open_watches: recheck attempts from now on. An open watch of the same kind keeps its rechecks and its schedule; so
-- does one that a webhook has announced, until what was announced has come.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
-- ARGV  1 now   2 "1": by a webhook, which a recheck under way cannot have seen   3.. key, due, kind, deadline and
--       reference of each watch
-- Returns the keys that a webhook has announced.

local announced = {}
for i = 3, #ARGV, 5 do
  local key, due, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local watch = read(key)
  if not watch then
    watch = { rechecks = "0", opened = ARGV[1], version = "0", announced = "" }
  elseif watch.kind == kind or watch.announced ~= "" then
    due = due_of(key) or due
  else
    watch.rechecks = "0"
  end
  if ARGV[2] == "1" then watch.version = next_version() end
  if watch.announced ~= "" then announced[#announced + 1] = key end
  watch.kind, watch.deadline, watch.reference = kind, ARGV[i + 3], ARGV[i + 4]
  write(key, watch, due)
end
return announced
