-- retry_now: make some waiting retries due at once.
--
-- KEYS    1 retry (sorted set: event id by due time)   2 deliveries (hash: event id -> record)
--         3 claims (hash: event id -> times claimed and not settled)
-- ARGV    1 now (UNIX seconds)   2... event ids
-- Returns how many were made due
--
-- Why: what is claimed is being sent, and what waits for a receipt was delivered; neither may be sent again.

local retry, deliveries, claims, now = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[1])
local moved = 0

local function waits_for_receipt(id)
  local readable, delivery = pcall(cjson.decode, redis.call('HGET', deliveries, id) or '')
  return readable and type(delivery) == 'table' and delivery.awaiting_receipt == true
end

for place = 2, #ARGV do
  local id = ARGV[place]
  local due = tonumber(redis.call('ZSCORE', retry, id) or '')
  if due and due > now and redis.call('HEXISTS', claims, id) == 0 and not waits_for_receipt(id) then
    redis.call('ZADD', retry, ARGV[1], id)
    moved = moved + 1
  end
end
return moved
