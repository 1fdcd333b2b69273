-- enqueue: does with keys of its own what asynq does to put a task into a queue.
--
-- KEYS[1] task (hash), KEYS[2] pending (list), KEYS[3] names (set)
-- KEYS[4], … keys of the queue, declared as asynq does and not touched
-- ARGV[1] task ID, ARGV[2] message
-- ARGV[3] ms after which all are gone, should the prober die
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'msg', ARGV[2], 'state', 'pending')
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
return 1
