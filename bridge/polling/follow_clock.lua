-- follow_clock: detect that the clock was set back, and move what a source waits for back with it.
--
-- KEYS  1 to 7 as in `watch_queues.lua`: 1 watches   2 3 4 queues   5 version   6 expectations   7 deadlines
--       8 clock (string: latest moment that was seen, UNIX seconds)   9 calls (sorted set by UNIX seconds)
--       10 pause (string: until, reason)   11 vendor limit (hash: `remaining` calls of `limit` until `resets_at`)
-- ARGV  1 now   2 seconds that the clock may go back without a step
-- Returns the seconds by which everything was moved, or 0.
--
-- Why: what is due in six hours is due by the clock that planned it. What an operator registered, and what vendors state
-- as dates of attempts, are dates and stay. Of the calls only those move that seem to be made in the future: a call must
-- not leave its window early, whatever the clock did before.

local now, seen = tonumber(ARGV[1]), tonumber(redis.call("GET", KEYS[8]) or "")
redis.call("SET", KEYS[8], ARGV[1])
if not seen or now >= seen - tonumber(ARGV[2]) then return 0 end
local back = seen - now

local function moved(moment)
  return string.format("%.3f", tonumber(moment) - back)
end

local function expectation(key)
  local is_json, facts = pcall(cjson.decode, redis.call("HGET", KEYS[6], key) or "")
  return is_json and type(facts) == "table" and facts.state ~= "overdue" and facts or {}
end

local function move(place, key, due)
  local registered, watch = expectation(key), read(key)
  if due ~= registered.due and due ~= registered.deadline then due = due - back end
  if not watch then
    redis.call("ZADD", place, string.format("%.3f", due), key)
    return
  end
  if tonumber(watch.opened) and tonumber(watch.opened) > now then watch.opened = moved(watch.opened) end
  if tonumber(watch.announced) then watch.announced = moved(watch.announced) end
  if watch.kind == "pointer" and tonumber(watch.deadline) then watch.deadline = moved(watch.deadline) end
  write(key, watch, string.format("%.3f", due))
end

for i = 2, 4 do
  local due = redis.call("ZRANGE", KEYS[i], 0, -1, "WITHSCORES")
  for j = 1, #due, 2 do move(KEYS[i], due[j], tonumber(due[j + 1])) end
end
local calls = redis.call("ZRANGEBYSCORE", KEYS[9], "(" .. ARGV[1], "+inf", "WITHSCORES")
for i = 1, #calls, 2 do redis.call("ZADD", KEYS[9], moved(calls[i + 1]), calls[i]) end
local till, reason = string.match(redis.call("GET", KEYS[10]) or "", "^(%S+)(.*)$")
if till and till ~= "inf" then redis.call("SET", KEYS[10], moved(till) .. reason) end
local reset = redis.call("HGET", KEYS[11], "resets_at")
if reset then redis.call("HSET", KEYS[11], "resets_at", moved(reset)) end
return math.ceil(back)
