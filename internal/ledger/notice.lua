-- notice: writes down what a notification said of an order, without its lease:
-- the end may come from this side while a call is under way, whose own settle
-- then finds it and yields. Repeating a notice changes nothing, however often.
--
-- KEYS[1] order (hash)   KEYS[2] log (list)   KEYS[3] due (zset)
-- KEYS[4] outcomes (stream)   KEYS[5] stats (hash)   KEYS[6] ended:paid (zset)
-- ARGV[1] JSON {
--   no
--   paid       true where the whole is paid; false for a payment in part
--   order_id, transaction_id, paid_type, total, paid_amount, payments   as in settle,
--              but for the name of what has come in
--   verdict    for the event
--   keep       entries that the log may have
-- }
-- ARGV[2] the entry for the log, without its time
--
-- Returns {code, now, news}:
--   'absent'   no such order
--   'paid'     the order ended now
--   'partial'  it stays open, and more has come in than was known
--   'ended'    it had ended otherwise; the payment stands beside the end
--   'repeat'   nothing new
-- news is 'differs' where the amounts are not those that were known, else ''.
local a = cjson.decode(ARGV[1])
local now = clock()
local r = redis.call('HMGET', KEYS[1], 'state', 'paid', 'total')
local state = r[1]
if not state then return { 'absent', now, '' } end

local f = { order_id = a.order_id, transaction_id = a.transaction_id, paid_type = a.paid_type,
  total = a.total, paid = a.paid_amount, payments = a.payments }
local call = { 'notification', a.verdict }
local function note(code, news)
  redis.call('LPUSH', KEYS[2], stamped(ARGV[2], now))
  redis.call('LTRIM', KEYS[2], 0, a.keep - 1)
  return { code, now, news }
end

if a.paid then
  local news = differs(KEYS[1], now, f)
  if state == 'paid' then
    if news ~= '' then return note('repeat', news) end
    return { 'repeat', now, '' }
  end
  if not OPEN[state] then
    local told = late(KEYS[1], KEYS[4], a.no, now, f, call)
    if told == '' and news == '' then return { 'repeat', now, '' } end
    return note(told == '' and 'repeat' or 'ended', news)
  end
  learn(KEYS[1], f)
  redis.call('HSET', KEYS[1], 'state', 'paid', 'ended', now)
  redis.call('HDEL', KEYS[1], 'next', 'due', 'reason', 'declines', 'confirms', 'fails', 'missing')
  redis.call('ZREM', KEYS[3], a.no)
  redis.call('ZADD', KEYS[6], now, a.no)
  redis.call('HINCRBY', KEYS[5], state, -1)
  redis.call('HINCRBY', KEYS[5], 'paid', 1)
  redis.call('HINCRBY', KEYS[5], 'paid_amount', num(redis.call('HGET', KEYS[1], 'paid')))
  emit(KEYS[1], KEYS[4], 'order.paid', a.no, call)
  return note('paid', news)
end

if state == 'paid' or num(a.paid_amount) <= num(r[2]) then return { 'repeat', now, '' } end
local news = differs(KEYS[1], now, f)
if not OPEN[state] then
  local told = late(KEYS[1], KEYS[4], a.no, now, f, call)
  return note(told == '' and 'repeat' or 'ended', news)
end
learn(KEYS[1], f)
emit(KEYS[1], KEYS[4], 'order.attempted', a.no, call)
return note('partial', news)
