-- ledger: does with keys of its own what the ledger's scripts do with orders,
-- so that a Redis that refuses any of it says so here.
--
-- KEYS[1] hash, KEYS[2] list, KEYS[3] zset, KEYS[4] stream, the probe's own
-- KEYS[5], … keys of the ledger, declared as its scripts do and not touched
-- ARGV[1] what to write into the hash
-- ARGV[2] ms after which the hash is gone, should the prober die
--
-- Returns ARGV[1], read back. The hash stays; the rest is deleted.
local hash, list, zset, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

redis.call('HSET', hash, 'token', ARGV[1])
redis.call('PEXPIREAT', hash, now + 1000)
redis.call('PERSIST', hash)
redis.call('PEXPIRE', hash, ARGV[2])
redis.call('HSETNX', hash, 'n', '1')
redis.call('HINCRBY', hash, 'n', 1)
redis.call('HGET', hash, 'n')
redis.call('HLEN', hash)
redis.call('HEXISTS', hash, 'n')
redis.call('HGETALL', hash)
redis.call('HDEL', hash, 'n')
local back = redis.call('HMGET', hash, 'token', 'n')

redis.call('LPUSH', list, 'a')
redis.call('RPUSH', list, 'b')
redis.call('LTRIM', list, 0, 1)
redis.call('LRANGE', list, 0, -1)
redis.call('LINDEX', list, 0)
redis.call('LINSERT', list, 'BEFORE', 'a', 'c')
redis.call('LPOP', list)

redis.call('ZADD', zset, now, 'a')
redis.call('ZCARD', zset)
redis.call('ZCOUNT', zset, '-inf', now)
redis.call('ZSCORE', zset, 'a')
redis.call('ZMSCORE', zset, 'a') -- Redis 6.2
redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, 1)
redis.call('ZREMRANGEBYSCORE', zset, '-inf', '(' .. now)
redis.call('ZREM', zset, 'a')

redis.call('XADD', stream, '*', 'f', 'v')
redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
redis.call('XINFO', 'GROUPS', stream)
local pending = redis.pcall('XPENDING', stream, 'probe')
if pending.err and not string.find(pending.err, 'NOGROUP', 1, true) then return pending end
redis.call('XTRIM', stream, 'MINID', '~', '1') -- Redis 6.2

redis.call('EXISTS', list)
redis.call('DEL', list, zset, stream)

redis.call('SADD', list, 'a', 'b')
redis.call('SISMEMBER', list, 'a')
redis.call('SREM', list, 'a')
redis.call('SCARD', list)
redis.call('DEL', list)
return back[1]
