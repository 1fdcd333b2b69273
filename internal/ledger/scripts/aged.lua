-- aged: a page of the orders that ended so long ago that they may leave the
-- ledger.
--
-- KEYS[1] ended:<state> (zset)
-- ARGV[1] ms from an order's end   ARGV[2] orders to pass over
-- ARGV[3] size of the page
--
-- Returns out_order_no of each.
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', (clock()) - ARGV[1], 'LIMIT', ARGV[2], ARGV[3])
