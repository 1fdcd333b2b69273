-- retain: removes finished orders, their logs and their acknowledgements from the ledger, a
-- page of one index that aged has found. It keeps open orders, orders with a call under way, withdrawn
-- orders with a pending sync, and orders that were collected so recently that they could
-- be collected too soon if they were reopened.
--
-- KEYS[1] ended:<state> (zset)   KEYS[2] stats (hash)   KEYS[3] acks (hash)
-- KEYS[4], KEYS[5], … of each order the record (hash) and the log (list)
-- ARGV[1] JSON {
--   state
--   nos        out_order_no of each order
--   retention  ms since an order's final state
--   gap        ms between two collect calls of an order
--   sure       as in claim
-- }
--
-- Returns {removed, skipped}.
local a = cjson.decode(ARGV[1])
local now = clock()
local removed, passed = 0, 0
for i, no in ipairs(a.nos) do
  local key, log = KEYS[2 * i + 2], KEYS[2 * i + 3]
  local ended = redis.call('ZSCORE', KEYS[1], no)
  local r = FIELDS(key, state, lease, sync, collected, paid)
  if not ended or num(ended) > now - a.retention then
    -- Removed in the meantime, or in a newer final state.
  elseif r.state ~= a.state then
    redis.call('ZREM', KEYS[1], no) -- not in this state any more, or gone
    removed = removed + 1
  elseif leased(r.lease, now, a.sure) > 0 or working(r.state, r.sync) or num(r.collected) + a.gap > now then
    passed = passed + 1
  else
    redis.call('DEL', key, log)
    redis.call('HDEL', KEYS[3], 'order ' .. no)
    redis.call('ZREM', KEYS[1], no)
    redis.call('HINCRBY', KEYS[2], a.state, -1)
    if a.state == 'paid' and r.paid then
      redis.call('HINCRBY', KEYS[2], 'paid_amount', -r.paid)
      redis.call('HINCRBY', KEYS[2], 'paid_left', r.paid)
    end
    removed = removed + 1
  end
end
return { removed, passed }
