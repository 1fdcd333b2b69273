-- notice: records what a notification says of an order, without its lease: the order may
-- become paid while a call is under way, whose settle then finds the final state and
-- yields. Repeating a notice changes nothing.
--
-- KEYS[1] order (hash)   KEYS[2] log (list)   KEYS[3] due (zset)
-- KEYS[4] outcomes (stream)   KEYS[5] stats (hash)   KEYS[6] ended:paid (zset)
-- KEYS[7] words (hash)   KEYS[8] recovery (hash)
-- ARGV[1] JSON {
--   no
--   id         of the notification, the same each time that WeChat Pay sends it; ''
--              for none
--   token      of this delivery: it distinguishes a repeated call from another delivery
--              of the same notification
--   whole      true if the whole order is paid; false for a payment in part
--   order_id, transaction_id, paid_type, total, paid, payments, done, known
--              as in money.lua
--   verdict    for the event
--   keep       entries that the log may have
-- }
-- ARGV[2] the entry for the log, without its time
--
-- Returns {code, now, news}:
--   'absent'   no such order
--   'paid'     the order is paid now
--   'partial'  it stays open, and more was paid than was known
--   'ended'    it was in another final state; the payment is recorded beside it
--   'repeat'   nothing new
-- news is as in settle. If the code is 'paid' or 'ended', or there are news, the answer
-- may be lost, so it is kept until the receiver has logged and counted it (NoticeTold).
-- Until then the same delivery gets it again, and after ANSWERED another delivery does;
-- before that, another delivery is a 'repeat'.
local ANSWERED = 10 * 1000 -- ms; a receiver gives up a delivery sooner
local a = cjson.decode(ARGV[1])
local now = clock()
local mark = 'n:' .. a.id
local r = FIELDS(KEYS[1], SIGNED, TALLY, declines, late, k, lease, doing, accepted, told=mark)
if not r.state then return { 'absent', now, '' } end
if a.id ~= '' and r.told then
  local token, at, code, news = string.match(r.told, '^(%S*) (%d+) (%a+) ?(.*)$')
  if token ~= a.token then
    at = num(at)
    if at <= now and now < at + ANSWERED then return { 'repeat', now, '' } end
    redis.call('HSET', KEYS[1], mark, a.token .. ' ' .. now .. ' ' .. code .. ' ' .. news)
  end
  return { code, now, news }
end

filled(KEYS[1], r, KEYS[7])
local m = heard(r, a, now)
attributed(r, m, now, (r.doing == 'collect' or r.doing == 'recollect') and num(r.lease) > now)
local call = { 'notification', a.verdict }
local code, kind = 'repeat', nil
if not OPEN[r.state] then
  kind = beside(r, m, now)
  if m.late then code = 'ended' end
elseif a.whole then
  code, kind = 'paid', 'order.paid'
else
  if m.grown then code = 'partial' end
  kind = m.new and 'order.attempted'
end
local news = newsof(m)
if code == 'paid' or m.new and not OPEN[r.state] then
  local state = r.state
  if code == 'paid' then
    r.state, r.ended = 'paid', now
    if num(r.declines) > 0 and unrecorded(r, KEYS[2], 0) then
      r.cause = '_'
      m.write[#m.write + 1] = 'cause'
      m.write[#m.write + 1] = r.cause
    end
  end
  recounted(KEYS[8], r, now, m.write)
  r.state = state
end
if r.k and (kind or #m.write > 0) then expand(KEYS[1], KEYS[7]) end

if a.id ~= '' and (code == 'paid' or code == 'ended' or news ~= '') then
  m.write[#m.write + 1] = mark
  m.write[#m.write + 1] = a.token .. ' ' .. now .. ' ' .. code .. ' ' .. news
end
if #m.write > 0 then redis.call('HSET', KEYS[1], unpack(m.write)) end
counted(KEYS[5], r, m)
if code == 'paid' then
  redis.call('HSET', KEYS[1], 'state', 'paid', 'ended', now)
  redis.call('HDEL', KEYS[1], 'next', 'due', 'reason', 'declines', 'confirms', 'fails', 'missing')
  redis.call('ZREM', KEYS[3], a.no)
  redis.call('ZADD', KEYS[6], now, a.no)
  redis.call('HINCRBY', KEYS[5], r.state, -1)
  redis.call('HINCRBY', KEYS[5], 'paid', 1)
  if r.paid then redis.call('HINCRBY', KEYS[5], 'paid_amount', r.paid) end
end
if kind then emit(KEYS[1], KEYS[4], kind, a.no, call) end
if kind or news ~= '' then
  redis.call('LPUSH', KEYS[2], stamped(ARGV[2], now))
  redis.call('LTRIM', KEYS[2], 0, a.keep - 1)
end
return { code, now, news }
