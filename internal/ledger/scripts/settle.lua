-- settle: records the result of a step and returns the lease: all or nothing, only with
-- the token of the claim, and once. Repeating a settle after a lost answer changes
-- nothing.
--
-- KEYS[1] order (hash)   KEYS[2] log (list)   KEYS[3] due (zset)
-- KEYS[4] outcomes (stream)   KEYS[5] stats (hash)   KEYS[6] gate (hash)
-- KEYS[7] ended:<state> (zset); not touched if the order stays open
-- KEYS[8] hold (hash)   KEYS[9] words (hash)   KEYS[10] paused (zset)
-- KEYS[11] sweep (hash)   KEYS[12] recovery (hash)
-- ARGV[1] JSON, in which what is 0, false or '' is left out, and numbers that are only
-- stored are texts: Lua would read them, and write them out for each command {
--   no, token
--   state, reason       where the order stands now, and why
--   next, due, look     open orders: the plan, the due time, and the time of the next
--                       sweep
--   bump                true to begin a new round
--   paused              true if the order is put off because its merchant is paused
--   attempts            how many to add
--   declines, confirms, fails, missing   the counters, as they are now
--   not_made            the counter of a call that the claim counted and that was not
--                       made: 'collects', 'queries' or 'syncs'
--   collected           when the step's collect call was finished, or, if a claimed one
--                       was not made, when the previous one was (0: there was none);
--                       absent if none was claimed
--   order_id, transaction_id, paid_type, total, paid, payments, done, known, fresh
--                       what was learnt, as in money.lua; absent if nothing was
--   life                the order's epoch at the claim: a reopening begins a new one
--   total_was           the order's total at the claim
--   sync, syncwhy       steps that notify WeChat Pay of a withdrawn order: the state of
--                       the sync ('pending', 'done', 'failed', 'not_needed'), and its
--                       reason; else absent. state is then 'withdrawn'
--   verified_paid       true if the last reply was a verified payment
--   call, verdict, code, detail   for the event
--   accepted            of a collect call that was accepted, or may have taken effect: ms
--                       before and after collected within which a payment is this
--                       call's; else absent
--   gate                the last reply's signal for the merchant and the service: 'ok',
--                       'fault', 'service', 'down', 'throttled' or ''
--   at                  now, by the worker; 0 if it does not know
--   called_at           when the last call of the step began
--   first, most, limit  ms to a hold's first probe, and the longest between two;
--                       consecutive failures that begin a hold of the merchant
--   probe               true if the claim was a probe
--   keep                entries that the log may have
-- }
-- ARGV[2], … entries to put in front of the log, oldest first, without their time
--
-- Returns {code, now, gate, news, state, first}:
--   'settled'  written
--   'repeat'   it was written before, and first is the code that it had then; gate, news
--              and state are those of then
--   'ended'    the order was already in a final state; the log was written, and what was
--              learnt is recorded beside that state, and that WeChat Pay answered
--   'reopened' the order reached a final state and was reopened in the meantime; the log
--              was written, and what was learnt, and that WeChat Pay answered. If money
--              was learnt, an open order is due for a query
--   'lost'     another worker has the lease; only payments that were learnt were written
-- gate is what judge in hold.lua returns. news has 'late' for a payment after another
-- final state, 'differs' for amounts that raise an alarm, and 'lowered' for a total that
-- the merchant has lowered: any of them, in this order. state is where the order stands.
local s = cjson.decode(ARGV[1])
s.at, s.called_at, s.gate, s.life = s.at or 0, s.called_at or 0, s.gate or '', s.life or ''
local now, now_us = clock()
-- The record is read once here and written once below: a step's time in Redis is that of
-- its commands.
local r = whole(KEYS[1])
if r.k then
  filled(KEYS[1], r, KEYS[9])
  expand(KEYS[1], KEYS[9])
end

if r.done and string.sub(r.done, 1, #s.token) == s.token then
  local token, did, told, stood, first = string.match(r.done, '^(%S+) ?(%S*) ?([^|]*)|?([^|]*)|?([^|]*)$')
  if token == s.token then return { 'repeat', now, did, told, stood, first } end
end

local moved = false -- the time of the order's opening

-- firstcause returns the code of an order's first decline, if it was not recorded and this
-- reply is that decline, or the order ends here.
local function firstcause(ends)
  local declined = s.verdict == 'declined' and not r.cause
  -- Only what the schedule has put off can have been declined before, and end here.
  if (declined or num(r.declines) > 0 and ends) and unrecorded(r, KEYS[2], #ARGV - 1) then return '_' end
  return declined and causeof((s.detail or '') ~= '' and s.detail or (s.code or '') ~= '' and s.code or 'declined')
end

-- accepted returns the field of that name. This settle may be late.
local function accepted() return s.accepted and string.format('%.0f ', num(s.collected)) .. s.accepted end

-- aside records what was learnt of an order that this step does not settle: it is in a
-- final state, or was reopened since, or another step has it. It returns the news, and
-- whether money came in.
-- answered: WeChat Pay has answered a collect call of an order that has ended meanwhile; the
-- call counts as if the answer had come first. A reopening begins no new count of attempts,
-- and the first decline stays the first.
local function aside(call, answered)
  s.fresh = nil -- a later message may have come meanwhile
  local m = heard(r, s, now)
  if answered then
    local function set(field, value)
      r[field] = value
      m.write[#m.write + 1] = field
      m.write[#m.write + 1] = value
    end
    if s.accepted then set('accepted', accepted()) end
    local cause = firstcause(false)
    if cause then set('cause', cause) end
    set('attempts', num(r.attempts) + s.attempts)
  end
  local kind
  if OPEN[r.state] then
    kind = m.new and 'order.attempted'
  else
    kind = beside(r, m, now)
  end
  attributed(r, m, now)
  if (m.new or moved or answered) and not OPEN[r.state] then recounted(KEYS[12], r, now, m.write) end
  if #m.write > 0 then redis.call('HSET', KEYS[1], unpack(m.write)) end
  counted(KEYS[5], r, m)
  if (answered or moved) and not kind then kind = 'order.attempted' end
  if kind then emit(KEYS[1], KEYS[4], kind, s.no, call) end
  return newsof(m), m.more or s.verified_paid
end

local call = { s.call, s.verdict, s.code, s.detail }
if r.token ~= s.token then
  local news = ''
  if r.state and (s.paid or s.payments) then
    local money
    news, money = aside(call)
    -- If another worker has it, or died with it, it is queried in any case.
    if money and OPEN[r.state] and not r.lease then
      reached(KEYS[11], now)
      redis.call('HSET', KEYS[1], 'next', 'recheck', 'due', now, 'off', 1)
      redis.call('ZADD', KEYS[3], now, s.no)
    end
  end
  return { 'lost', now, '', news, r.state or '', '' }
end

-- A reopening may have given the order another service, which was not called.
local change = ''
if (r.life or '') == s.life then change = judge(KEYS[8], KEYS[6], service(r.appid, r.svc), s, now, now_us) end

-- The worker computes Redis's clock from the claim on. If that clock has jumped since,
-- so have the times that the worker computed.
local jumped = s.at > 0 and now - s.at or 0
if jumped >= JUMP then reached(KEYS[11], now) end -- this worker may die before it reports it
if math.abs(jumped) >= JUMP then
  for _, field in ipairs({ 'due', 'look', 'collected' }) do
    if num(s[field]) > 0 then s[field] = num(s[field]) + jumped end
  end
end

local write, erase = {}, { 'token', 'lease', 'doing' }
local function put(field, value)
  if value == nil or value == '' or value == 0 then
    erase[#erase + 1] = field
  else
    write[#write + 1] = field
    write[#write + 1] = value
  end
end
-- written writes the record and the reply, which a repeat returns.
local function written(code, change, news, state)
  local done = s.token
  if code ~= 'settled' or change .. news ~= '' then
    done = table.concat({ s.token, ' ', change, ' ', news, '|', state, '|', code })
  end
  put('done', done)
  redis.call('HSET', KEYS[1], unpack(write))
  redis.call('HDEL', KEYS[1], unpack(erase))
  return { code, now, change, news, state, '' }
end

if s.not_made then redis.call('HINCRBY', KEYS[1], s.not_made, -1) end
for i = 2, #ARGV do
  if redis.call('LPUSH', KEYS[2], stamped(ARGV[i], now)) > s.keep then redis.call('LTRIM', KEYS[2], 0, s.keep - 1) end
end
-- A due time without an entry in the log is marked; see mend.
local putoff = s.paused and OPEN[r.state] and (r.life or '') == s.life
if putoff then redis.call('ZADD', KEYS[10], now, s.no) end
put('off', putoff and 2 or #ARGV == 1 and 1 or 0)
-- The time of the last collect call is valid even if the order changed in the meantime.
if s.collected then put('collected', s.collected ~= '0' and s.collected or nil) end
if num(s.collected) > 0 and s.not_made ~= 'collects' and r.since == r.opened and num(s.collected) < num(r.since) then
  -- It was opened by a clock that was ahead; see recollected. Written at once, for the
  -- event in aside.
  moved, r.since, r.opened = true, s.collected, s.collected
  redis.call('HSET', KEYS[1], 'since', s.collected, 'opened', s.collected)
end

if (r.life or '') ~= s.life then
  local news, money = aside(call, s.attempts)
  if money and OPEN[r.state] then
    put('next', 'recheck')
    put('due', now)
    redis.call('ZADD', KEYS[3], now, s.no)
  elseif working(r.state, r.sync) and not OPEN[r.state] then
    redis.call('ZADD', KEYS[3], now, s.no) -- telling WeChat Pay has waited for this call
  end
  return written('reopened', change, news, r.state)
end
local syncing = s.sync and r.state == 'withdrawn' and r.sync == 'pending'
if not OPEN[r.state] and not syncing then
  local news = aside(call, s.attempts)
  -- The sync has waited for this call.
  if working(r.state, r.sync) then redis.call('ZADD', KEYS[3], now, s.no) end
  return written('ended', change, news, r.state)
end

put('declines', s.declines)
put('confirms', s.confirms)
put('fails', s.fails)
put('missing', s.missing)
put('last') -- the log says it; releases before 0.3 wrote it here

local kind, state, ended = 'order.attempted', s.state, nil
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
  redis.call('ZADD', KEYS[3], s.look or 0, s.no)
  if s.bump then put('round', num(r.round) + 1) end
else
  put('next')
  put('due')
  redis.call('ZREM', KEYS[3], s.no)
  if not syncing then
    ended = string.format('%.0f', now)
    put('ended', ended)
    redis.call('ZADD', KEYS[7], ended, s.no)
    kind = 'order.' .. s.state
  end
end
local attempts = num(r.attempts) + num(s.attempts)
if s.attempts then put('attempts', attempts) end
-- A notification that came during the call may be newer than the reply.
if num(r.total) ~= num(s.total_was) then s.fresh = nil end
local m = heard(r, s, now)
if syncing then
  local found = beside(r, m, now)
  if found == 'order.paid' then kind = found end
  state = r.state
end
attributed(r, m, now)
if s.accepted then put('accepted', accepted()) end
local cause = firstcause(not OPEN[state])
if cause then
  r.cause = cause
  put('cause', cause)
end
local before = r.state
if not OPEN[state] then
  r.state, r.ended, r.attempts = state, ended or r.ended, attempts
  recounted(KEYS[12], r, now, m.write)
end
for i = 1, #m.write, 2 do put(m.write[i], m.write[i + 1]) end
-- A step that made no call (its slot came too late) emits no event.
local tell = #ARGV > 1 or state ~= before
local events = num(r.events) + 1
if tell then put('events', events) end
local reply = written('settled', change, newsof(m), state)
if tell then
  if syncing then
    r.sync = s.sync
  else
    r.reason, r.ended = s.reason, ended
  end
  r.state, r.attempts = state, attempts > 0 and attempts
  if m.late then r.late = r.late or now end
  event(KEYS[4], kind, s.no, events, r, call)
end

if not syncing and state ~= before then
  redis.call('HINCRBY', KEYS[5], before, -1)
  redis.call('HINCRBY', KEYS[5], state, 1)
  if state == 'paid' and r.paid then redis.call('HINCRBY', KEYS[5], 'paid_amount', r.paid) end
end
return reply
