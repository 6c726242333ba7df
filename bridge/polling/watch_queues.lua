-- watch_queues: what the scripts for watches share: reading, writing and removing one watch.
--
-- KEYS  1 watches (hash: key -> "<rechecks>|<opened>|<kind>|<version>|<announced>|<deadline>|<reference as JSON>")
--         (announced: UNIX seconds, with "!" once a recheck of the pointer has found an attempt without anything new)
--       2 open attempts and expectations   3 pointers, and whatever else a webhook has announced   4 the others
--         (sorted sets: key by UNIX seconds of the next recheck; a key is in one of them)
--       5 version of the last urge (string)   6 expectations (hash: key -> JSON)
--       7 deadlines (sorted set: key by UNIX seconds) of open expectations

-- Earlier versions stored "<rechecks>|<opened>|<kind>|{"reference":{...},"give_up_at":<deadline>}".
local function read(key)
  local value = redis.call("HGET", KEYS[1], key) or ""
  local rechecks, opened, kind, version, announced, deadline, reference =
    string.match(value, "^(%d+)|([^|]*)|(%a+)|(%d+)|([^|]*)|([^|]*)|({.*)$")
  if not rechecks then
    rechecks, opened, kind, reference, deadline =
      string.match(value, '^(%d+)|([^|]*)|(%a+)|{"reference":({.*}),"give_up_at":([^,}]*)}$')
    version, announced = "0", kind == "pointer" and deadline or ""
  end
  if not rechecks then return nil end
  local until_, mark = string.match(announced, "^([^!]*)(!?)")
  return { rechecks = rechecks, opened = opened, kind = kind, version = version, announced = until_, found = mark,
    deadline = deadline, reference = reference }
end

local function queue(watch)
  if watch.kind == "attempt" or watch.kind == "expectation" then return KEYS[2] end
  if watch.kind == "pointer" or watch.announced ~= "" then return KEYS[3] end
  return KEYS[4]
end

-- When the next recheck is due; nil for a key without one.
local function due_of(key)
  return redis.call("ZSCORE", KEYS[2], key) or redis.call("ZSCORE", KEYS[3], key)
    or redis.call("ZSCORE", KEYS[4], key) or nil
end

local function write(key, watch, due)
  local place = queue(watch)
  for i = 2, 4 do
    if KEYS[i] ~= place then redis.call("ZREM", KEYS[i], key) end
  end
  redis.call("ZADD", place, due, key)
  redis.call("HSET", KEYS[1], key, table.concat({ watch.rechecks, watch.opened, watch.kind, watch.version,
    watch.announced .. (watch.found or ""), watch.deadline, watch.reference }, "|"))
end

local function remove(key)
  for i = 2, 4 do redis.call("ZREM", KEYS[i], key) end
  return redis.call("HDEL", KEYS[1], key)
end

local function next_version()
  return string.format("%d", redis.call("INCR", KEYS[5]))
end

-- Whether nothing has urged this watch since version `as_of`; "" stands for any version.
local function is_unchanged(watch, as_of)
  return as_of == "" or tonumber(watch.version) <= tonumber(as_of)
end
