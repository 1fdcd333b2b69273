-- hookclaim: grants the lease of an order's webhooks, to deliver the oldest of its final
-- states. Two concurrent deliveries of one order could change their order. It can be
-- repeated with the same token.
--
-- KEYS[1] hook:<out_order_no> (list)   KEYS[2] hooks (hash)
-- KEYS[3] hookdue (zset)   KEYS[4] hookwaiting (zset)
-- ARGV[1] JSON {
--   no, token
--   round  of the task
--   lease  ms from now to the lease's end
-- }
--
-- Returns {code, now, end, failures}:
--   'granted'  the lease is yours; end is the oldest event, failures the number of
--              consecutive failures of its delivery
--   'absent'   the order has nothing to deliver
--   'leased'   another delivery is under way
--   'stale'    a delivery has failed since the task was made; the next one runs when
--              it is due
local a = cjson.decode(ARGV[1])
local now = clock()
local lease, try, failure = 'lease:' .. a.no, 'try:' .. a.no, 'failure:' .. a.no

local head = redis.call('LINDEX', KEYS[1], 0)
if not head then
  redis.call('ZREM', KEYS[3], a.no)
  redis.call('ZREM', KEYS[4], a.no)
  redis.call('HDEL', KEYS[2], lease, try, failure)
  return { 'absent', now, '', 0 }
end
local r = redis.call('HMGET', KEYS[2], lease, try)
local token, held = string.match(r[1] or '', '^(%S+) (%d+)$')
local rest, ending = leased(held, now, now)
if rest > 0 and token ~= a.token then
  if ending then redis.call('HSET', KEYS[2], lease, token .. ' ' .. ending) end
  return { 'leased', now, '', 0 }
end
local fails, before = string.match(r[2] or '', '^(%d+) (%d+)$')
-- A later failure makes a task stale, and a newer task does not: if the queue is slower
-- than the grace, each task has a newer one.
if a.round <= num(before) then return { 'stale', now, '', 0 } end

redis.call('HSET', KEYS[2], lease, a.token .. ' ' .. (now + a.lease))
redis.call('ZADD', KEYS[3], now + a.lease, a.no)
return { 'granted', now, head, num(fails) }
