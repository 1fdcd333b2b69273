-- told: a query of an order in a final state, after ask, was answered: its lease ends, and
-- it is not asked again.
--
-- KEYS[1] order (hash)   KEYS[2] bookkeeping (hash)
-- ARGV[1] out_order_no   ARGV[2] the token of the lease
--
-- Returns 1, or 0 if the lease is another one's.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'lease')
redis.call('HDEL', KEYS[2], 'ask:' .. ARGV[1])
return 1
