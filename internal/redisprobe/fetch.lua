-- fetch: does with the keys of enqueue what asynq does to fetch a task and to
-- acknowledge it. Like asynq's script it makes the task's key of a prefix.
--
-- KEYS[1] pending (list), KEYS[2] paused (string), KEYS[3] active (list),
-- KEYS[4] lease (zset), KEYS[5] processed (string), KEYS[6] names (set)
-- ARGV[1] end of the lease, ARGV[2] prefix of the task's key
--
-- Returns the task's message, or nil where there is no task. Nothing stays.
if redis.call('EXISTS', KEYS[2]) == 1 then return nil end
local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[3])
if not id then return nil end
local key = ARGV[2] .. id
redis.call('HSET', key, 'state', 'active')
redis.call('HDEL', key, 'pending_since')
redis.call('ZADD', KEYS[4], ARGV[1], id)
local msg = redis.call('HGET', key, 'msg')

redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '+inf', 'LIMIT', 0, 1)
redis.call('ZRANGE', KEYS[4], '-inf', '+inf', 'BYSCORE') -- Redis 6.2
redis.call('HMGET', key, 'msg', 'state')
redis.call('LREM', KEYS[3], 0, id)
redis.call('ZREM', KEYS[4], id)
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', '+inf')
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1)
redis.call('INCR', KEYS[5])
redis.call('GET', KEYS[5])
redis.call('SET', KEYS[5], 1)
redis.call('EXPIRE', KEYS[5], 60)
redis.call('EXPIREAT', KEYS[5], ARGV[1])
redis.call('DEL', key, KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
return msg
