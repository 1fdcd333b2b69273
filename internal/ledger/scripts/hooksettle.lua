-- hooksettle: records the result of delivering an order's oldest final state, and either
-- continues with the next one or returns the lease. Repeating it after a lost answer
-- changes nothing.
--
-- KEYS[1] hook:<out_order_no> (list)   KEYS[2] hooks (hash)
-- KEYS[3] hookdue (zset)   KEYS[4] hookwaiting (zset)
-- ARGV[1] JSON {
--   no, token
--   id      of the event, in the stream
--   done    true if the event needs no more delivery: it was delivered, or given up
--   failed  true if its delivery has failed
--   why     of the failure: "<HTTP status, or 0> <words>"
--   wait    ms to the next delivery, if it is not done
--   lease   ms from now to the end of the lease for the next event, if this one is
--           done; 0 to return the lease
-- }
--
-- Returns {code, now, end, failures}:
--   'granted'  the lease is yours for end, the next one; failures as in hookclaim
--   'absent'   the order has nothing more to deliver
--   'settled'  recorded, and the lease is free
--   'lost'     another worker has the lease. A done delivery is recorded nevertheless,
--              since that is true whichever worker has the lease
local a = cjson.decode(ARGV[1])
local now = clock()
local lease, try, failure = 'lease:' .. a.no, 'try:' .. a.no, 'failure:' .. a.no

local mine = string.match(redis.call('HGET', KEYS[2], lease) or '', '^(%S+)') == a.token
local head = redis.call('LINDEX', KEYS[1], 0)
-- Another worker may have delivered it since our lease expired.
local same = head and string.match(head, '^(%S+)') == a.id
if a.done and same then
  redis.call('LPOP', KEYS[1])
  redis.call('HDEL', KEYS[2], try, failure)
  head = redis.call('LINDEX', KEYS[1], 0)
  if head then redis.call('ZADD', KEYS[4], string.match(head, '^(%d+)'), a.no) end
end
if not head then
  redis.call('ZREM', KEYS[3], a.no)
  redis.call('ZREM', KEYS[4], a.no)
  redis.call('HDEL', KEYS[2], lease, try, failure)
  return { 'absent', now, '', 0 }
end
if not mine then return { 'lost', now, '', 0 } end

local fails = num(string.match(redis.call('HGET', KEYS[2], try) or '', '^(%d+)'))
if a.done and a.lease > 0 then
  redis.call('HSET', KEYS[2], lease, a.token .. ' ' .. (now + a.lease))
  redis.call('ZADD', KEYS[3], now + a.lease, a.no)
  return { 'granted', now, head, fails }
end
redis.call('HDEL', KEYS[2], lease)
local look = now
if same and not a.done then
  look = now + a.wait
  if a.failed then
    redis.call('HSET', KEYS[2], try, (fails + 1) .. ' ' .. num(redis.call('HGET', KEYS[2], 'round')),
      failure, now .. ' ' .. a.why)
  end
end
redis.call('ZADD', KEYS[3], look, a.no)
return { 'settled', now, '', 0 }
