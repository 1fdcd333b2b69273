-- aged: a page of the orders that reached a final state so long ago that they may
-- leave the ledger.
--
-- KEYS[1] ended:<state> (zset)
-- ARGV[1] ms since an order's final state   ARGV[2] orders to skip
-- ARGV[3] size of the page
--
-- Returns out_order_no of each.
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', (clock()) - ARGV[1], 'LIMIT', ARGV[2], ARGV[3])
