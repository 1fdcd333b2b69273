-- closebook: stores what came of comparing a day with WeChat Pay's bill. A later comparison
-- of the day replaces it.
--
-- KEYS[1] books:<date> (hash)   KEYS[2] books (zset)   KEYS[3] bookkeeping (hash)
-- KEYS[4] acks (hash)   KEYS[5] outcomes (stream)
-- ARGV[1] JSON {
--   date    of the day
--   start   ms, when the day began
--   keep    ms from then on, after which results are removed
--   asks    orders to query, an array of out_order_no
--   counts  exceptions by kind, JSON text
--   again   ms until this result wants the day compared again; 0 for never
--   acted   the planned time, ms, on which this comparison has acted; below 0 for none
--   agreed  true if nothing is left to compare: no plan stays
-- }
-- ARGV[2] the result, JSON   ARGV[3] the same for the event, with fewer exceptions
--
-- Returns {now}.
local a = cjson.decode(ARGV[1])
local now = clock()
-- The event says what has changed: a repetition, and a comparison with the same result,
-- writes none.
local was = redis.call('HMGET', KEYS[1], 'result', 'event')
local event = was[2]
if not event or was[1] ~= ARGV[2] then
  event = redis.call('XADD', KEYS[5], '*', 'type', 'books.closed', 'date', a.date, 'books', ARGV[3])
end
redis.call('HSET', KEYS[1], 'result', ARGV[2], 'at', now, 'event', event)
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.max(now, a.start) + a.keep))
redis.call('ZADD', KEYS[2], a.start, a.date)
local before = '(' .. string.format('%.0f', now - a.keep)
for _, date in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', before, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], date)
  redis.call('HDEL', KEYS[4], 'books ' .. date)
  redis.call('HDEL', KEYS[3], 'again:' .. date)
end
-- With the result, so that a worker's death right after it leaves no day without its next
-- comparison. A plan on which this comparison has not acted stays; of two the earlier one.
local plan = 'again:' .. a.date
local at = num(redis.call('HGET', KEYS[3], plan))
if a.agreed or at == a.acted or not was[1] then at = 0 end -- of a day without a result it was a retry
if a.again > 0 and (at == 0 or at > now + a.again) then at = now + a.again end
if at > 0 then
  redis.call('HSET', KEYS[3], plan, at)
else
  redis.call('HDEL', KEYS[3], plan)
end
-- The newest day is what metrics show.
local last = string.match(redis.call('HGET', KEYS[3], 'last') or '', '^(%S+)') or ''
if a.date >= last then redis.call('HSET', KEYS[3], 'last', a.date .. ' ' .. a.counts) end
for _, no in ipairs(a.asks) do redis.call('HSET', KEYS[3], 'ask:' .. no, now) end
return { now }
