-- change_replay: change the state of a replay job, if it is in one of some states.
--
-- KEYS    1 the job (hash)   2 jobs that run (set)
-- ARGV    1 id of the job   2 new state   3 now (UNIX seconds)   4 error ("" for none)   5.. states in which to do it
-- Returns the state it had; "" if there is no such job
--
-- Why: an operator and the process that runs the job change it at the same time.

local before = redis.call('HGET', KEYS[1], 'state')
if not before then return '' end
for i = 5, #ARGV do
  if ARGV[i] == before then
    redis.call('HSET', KEYS[1], 'state', ARGV[2], 'updated', ARGV[3], 'error', ARGV[4], 'waits', '')
    redis.call(ARGV[2] == 'running' and 'SADD' or 'SREM', KEYS[2], ARGV[1])
  end
end
return before
