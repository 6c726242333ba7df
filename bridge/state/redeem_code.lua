-- redeem_code: take the one-time code that signs in, once.
--
-- KEYS  1 the code (hash: `code` and `token`, digests; `by`, the call that took it)
-- ARGV  1 digest of the code given   2 a random name of the call: a repeated call gets the same answer
-- Returns the digest of the code's token; nil: another code, or taken by another call.

local code, token, by = unpack(redis.call("HMGET", KEYS[1], "code", "token", "by"))
if code ~= ARGV[1] or (by and by ~= ARGV[2]) then return nil end
redis.call("HSET", KEYS[1], "by", ARGV[2])
return token
