-- settle: writes what a step brought, and gives the lease back. All or
-- nothing, only with the token of the claim, and once: repeating a settle
-- whose answer was lost changes nothing.
--
-- KEYS[1] order (hash)   KEYS[2] log (list)   KEYS[3] due (zset)
-- KEYS[4] outcomes (stream)   KEYS[5] stats (hash)   KEYS[6] gate (hash)
-- KEYS[7] ended:<state> (zset); not touched where the order stays open
-- KEYS[8] hold (hash)
-- ARGV[1] JSON {
--   no, token
--   state, reason       where the order stands now, and why
--   next, due, look     open orders: the plan, when it may be worked on, and
--                       when the sweep looks at it
--   bump                true to begin a new round
--   attempts            how many to add
--   declines, confirms, fails, missing   the counters, as they are now
--   uncollect, unquery, unsync   calls that were counted at the claim and not
--                       made
--   collected           when the step's collect call was over, or, where a
--                       claimed one was not made, when the one before was (0:
--                       there was none); absent where none was claimed
--   order_id, transaction_id, paid_type, total, paid, payments   what was learnt;
--                       absent where nothing was
--   life                the order's life at the claim: a reopening begins a new
--                       one
--   sync, syncwhy       steps that tell WeChat Pay of a withdrawn order: how far
--                       that is ('pending', 'done', 'failed', 'not_needed'), and
--                       why; else absent. state is 'withdrawn' then
--   verified_paid       true where the last reply was a verified payment
--   call, verdict, code, detail   for the event
--   gate                what the last reply says of the merchant and the service:
--                       'ok', 'fault', 'service', 'down', 'throttled' or ''
--   appid, service_id   the service
--   at                  now, as the worker reckons it; 0 where it does not
--   called_at           when the last call of the step began
--   first, most, limit  ms to a hold's first probe, and at most between two;
--                       failures in a row that begin a hold of the merchant
--   probe               true where the claim was a probe
--   keep                entries that the log may have
-- }
-- ARGV[2], … entries to put in front of the log, oldest first, without their time
--
-- Returns {code, now, gate, news}:
--   'settled'  written
--   'repeat'   was written before, with this gate
--   'ended'    the order had ended from another side; the log was written, and
--              what was learnt stands beside the end, whose state is the fifth
--              value
--   'reopened' the order ended and was opened again meanwhile; only the log was
--              written
--   'lost'     the lease is somebody else's; nothing was written
-- gate is what judge in hold.lua returns. news is 'late' for a payment beside another
-- end, 'differs' where a payment's amounts are not those that were known, else
-- ''.
local s = cjson.decode(ARGV[1])
local now, now_us = clock()
-- All that is needed of the record, read once, and below written once: a step's
-- time in Redis is that of its commands.
local r = redis.call('HMGET', KEYS[1], 'state', 'token', 'done', 'life', 'sync', 'events',
  'reason', 'appid', 'svc', 'oid', 'tx', 'pt', 'total', 'paid', 'attempts', 'opened', 'round', 'ended', 'late', 'pays', 'bill', 'owed')

local done, did = string.match(r[3] or '', '^(%S+) ?(%S*)$')
if done == s.token then return { 'repeat', now, did, '' } end
if r[2] ~= s.token then return { 'lost', now, '', '' } end

local change = judge(KEYS[8], KEYS[6], s, now, now_us)

-- The worker reckons Redis's clock from the claim on. Where that clock has jumped
-- since, so do the times that the worker has made.
local jumped = s.at > 0 and now - s.at or 0
if math.abs(jumped) >= JUMP then
  for _, field in ipairs({ 'due', 'look', 'collected' }) do
    if num(s[field]) > 0 then s[field] = s[field] + jumped end
  end
end

local write, erase = {}, { 'token', 'lease', 'doing', 'off' }
local function put(field, value)
  if value == nil or value == '' or value == 0 then
    erase[#erase + 1] = field
  else
    write[#write + 1] = field
    write[#write + 1] = value
  end
end
local function written()
  redis.call('HSET', KEYS[1], unpack(write))
  redis.call('HDEL', KEYS[1], unpack(erase))
end

if s.uncollect > 0 then redis.call('HINCRBY', KEYS[1], 'collects', -s.uncollect) end
if s.unquery > 0 then redis.call('HINCRBY', KEYS[1], 'queries', -s.unquery) end
if s.unsync > 0 then redis.call('HINCRBY', KEYS[1], 'syncs', -s.unsync) end
for i = 2, #ARGV do
  if redis.call('LPUSH', KEYS[2], stamped(ARGV[i], now)) > s.keep then redis.call('LTRIM', KEYS[2], 0, s.keep - 1) end
end
-- With what it did to the gate, so that a repeat can tell.
put('done', change == '' and s.token or s.token .. ' ' .. change)
-- When it was last collected holds whatever has become of it meanwhile.
if s.collected then put('collected', s.collected) end

local call = { s.call, s.verdict, s.code, s.detail }
if (r[4] or '') ~= s.life then
  written()
  return { 'reopened', now, change, '' }
end
local syncing = s.sync and r[1] == 'withdrawn' and r[5] == 'pending'
if not OPEN[r[1]] and not syncing then
  written()
  local news = ''
  if r[1] == 'paid' then
    if s.verified_paid then news = differs(KEYS[1], now, s) end
  elseif s.verified_paid or num(s.paid) > num(r[14]) then
    news = late(KEYS[1], KEYS[4], s.no, now, s, call)
  elseif learn(KEYS[1], s) then
    -- The newest event of an order says all that is known of it.
    emit(KEYS[1], KEYS[4], 'order.attempted', s.no, call)
  end
  -- Telling WeChat Pay has waited for this call.
  if working(r[1], r[5]) then redis.call('ZADD', KEYS[3], now, s.no) end
  return { 'ended', now, change, news, r[1] }
end

put('declines', s.declines)
put('confirms', s.confirms)
put('fails', s.fails)
put('missing', s.missing)
put('last') -- the log says it; releases before 0.3 wrote it here

local news, kind = '', 'order.attempted'
if s.verified_paid then news = differs(KEYS[1], now, s) end
if syncing then
  put('sync', s.sync)
  put('syncwhy', s.syncwhy)
else
  put('state', s.state)
  put('reason', s.reason)
end
if s.sync == 'pending' or (not syncing and OPEN[s.state]) then
  put('next', s.next)
  put('due', s.due)
  redis.call('ZADD', KEYS[3], s.look, s.no)
  if s.bump then put('round', num(r[17]) + 1) end
else
  put('next')
  put('due')
  redis.call('ZREM', KEYS[3], s.no)
  if not syncing then
    put('ended', now)
    redis.call('ZADD', KEYS[7], now, s.no)
    kind = 'order.' .. s.state
  end
end
local attempts = num(r[15]) + s.attempts
if s.attempts > 0 then put('attempts', attempts) end
local facts = { oid = r[10], tx = r[11], pt = r[12], total = r[13], paid = r[14], pays = r[20] }
local said = learnt(s, facts.paid, facts.pays)
for i = 1, #said, 2 do
  put(said[i], said[i + 1])
  facts[said[i]] = said[i + 1]
end
-- A step that made no call (its slot came too late) is nobody's news.
local told = #ARGV > 1 or s.state ~= r[1]
local events = num(r[6])
if syncing and s.verified_paid and s.paid_type ~= 'MCH' then
  written()
  news = late(KEYS[1], KEYS[4], s.no, now, s, call)
  if told then emit(KEYS[1], KEYS[4], kind, s.no, call) end
else
  if told then
    events = events + 1
    put('events', events)
  end
  written()
  if told then
    local reason, sync = s.reason, r[5]
    if syncing then reason, sync = r[7], s.sync end
    event(KEYS[4], kind, s.no, events, { syncing and r[1] or s.state, reason, r[8], r[9], facts.oid, facts.tx, facts.pt,
      facts.total, facts.paid, attempts > 0 and attempts, r[16], sync,
      syncing and r[18] or (not OPEN[s.state] and now), r[19], facts.pays, r[21], r[22] }, call)
  end
end

if not syncing and s.state ~= r[1] then
  redis.call('HINCRBY', KEYS[5], r[1], -1)
  redis.call('HINCRBY', KEYS[5], s.state, 1)
  if s.state == 'paid' then redis.call('HINCRBY', KEYS[5], 'paid_amount', num(facts.paid)) end
end
return { 'settled', now, change, news }
