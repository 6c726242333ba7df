-- urge_watches: recheck now, and again soon: a webhook announced something to read. An open watch keeps its
-- kind, deadline and reference; a pointer takes those of the new webhook, and the watch of a settled attempt becomes one.
--
-- KEYS  as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
-- ARGV  1 now   2.. key, until when the announcement counts (UNIX seconds) and reference of each pointer

for i = 2, #ARGV, 3 do
  local key, last = ARGV[i], ARGV[i + 1]
  local watch = read(key)
  if not watch or watch.kind == "reread" or watch.kind == "pointer" then
    watch = { opened = watch and watch.opened or ARGV[1], kind = "pointer", deadline = last, reference = ARGV[i + 2] }
  end
  watch.rechecks, watch.announced, watch.version = "0", last, next_version()
  local due = due_of(key)
  if not due or tonumber(due) > tonumber(ARGV[1]) then due = ARGV[1] end
  write(key, watch, due)
end
