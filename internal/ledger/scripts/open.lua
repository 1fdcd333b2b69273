-- open: writes orders into the ledger, or says why they are already there.
--
-- KEYS[1] due     (zset)    open orders by the time of the next sweep
-- KEYS[2] outcomes (stream) what happened to orders
-- KEYS[3] stats   (hash)    orders by state
-- KEYS[4] sweep   (hash)
-- KEYS[5], … ended:<state>  (zset) of REOPENED, audit (stream), words (hash) and recovery
--                           (hash): only to reopen finished orders
-- KEYS[…]    orders (hash)  the orders' records
-- ARGV[1] ms to leave an order to the task that the producer enqueues next,
--         before the sweep takes care of it
-- ARGV[2] JSON [by, reason, token] to reopen finished orders, else ''; see audit.lua
-- ARGV[3], … of each order: out_order_no, appid, service_id, not before (Unix ms;
--         0 for at once), and what billing says: the amount in fen, and since when
--         it is owed (Unix ms), and the name of its schedule; '' where billing does not
--         say. A record has them as bill, owed and schedule; no amount of ours is ever
--         made of bill
--
-- Returns now, Unix ms, and for each order either its due ms, if it was opened for the
-- first time, or {code, state, round, due ms}:
--   'accepted'   the order is open now, and was not before this deed
--   'duplicate'  it is open already; nothing changed
--   'conflict'   it is open under another appid or service_id; nothing changed
--   'ended'      it is in a final state, which follows; nothing changed
local PAST = 10 -- so many ends are remembered of an order that is reopened

-- REOPENED are the states whose orders can be reopened, in the order of their keys.
local REOPENED = { 'closed', 'rejected', 'withdrawn', 'exhausted' }
local AUDIT, WORDS, RECOVERY = KEYS[5 + #REOPENED], KEYS[6 + #REOPENED], KEYS[7 + #REOPENED] -- only to reopen
local ENDED, FIRST = {}, 5 -- the keys by state; the first order's key
local deed
if ARGV[2] ~= '' then
  deed = cjson.decode(ARGV[2])
  FIRST = 8 + #REOPENED
  for i, state in ipairs(REOPENED) do ENDED[state] = KEYS[4 + i] end
end

-- A million orders pass through here, so what is the same for all of them is made once:
-- a number is converted to digits for each command that gets it, and a command costs
-- more on its way out of Lua than in Redis.
local now = clock()
local NOW = string.format('%.0f', now)
local LOOK = string.format('%.0f', now + tonumber(ARGV[1])) -- of those due at once

-- done reports whether this very deed has reopened an order before.
local function done(key) return deed and did(redis.call('HGET', key, 'acts'), deed) end

-- answer returns how an order stands that is not opened now. again: this call has opened
-- it, which had the number before.
local function answer(key, rec, appid, svc, again)
  local state, round = rec.state, num(rec.round)
  if not OPEN[state] then return { 'ended', state, round, 0 } end
  local code = 'duplicate'
  if not again and done(key) then code = 'accepted' elseif rec.appid ~= appid or rec.svc ~= svc then code = 'conflict' end
  return { code, state, round, num(rec.due) }
end

-- says records what billing says of an order; what it does not say now stays.
local function says(key, bill, owed, schedule)
  if bill ~= '' then redis.call('HSET', key, 'bill', bill) end
  if owed ~= '' then redis.call('HSET', key, 'owed', owed) end
  if schedule ~= '' then redis.call('HSET', key, 'schedule', schedule) end
end

-- openedevent is event for an order's first event, of which one call writes many. It has
-- only the known fields, which takes two thirds of the time and of the bytes; mixed with
-- other events it takes a few bytes more. bill and owed are '' if billing did not say
-- them.
local function openedevent(no, appid, svc, bill, owed)
  if bill .. owed == '' then
    redis.call('XADD', KEYS[2], '*', 'type', 'order.opened', 'no', no, 'seq', '1', 'state', 'queued',
      'appid', appid, 'service_id', svc, 'opened', NOW)
  else
    redis.call('XADD', KEYS[2], '*', 'type', 'order.opened', 'no', no, 'seq', '1', 'state', 'queued',
      'appid', appid, 'service_id', svc, 'opened', NOW, 'billing', bill, 'owed', owed)
  end
end

local function create(key, no, appid, svc, due, bill, owed, schedule)
  redis.call('HSET', key, 'state', 'queued', 'appid', appid, 'svc', svc, 'next', 'collect',
    'due', due, 'round', '1', 'since', due, 'opened', NOW, 'events', '1')
  says(key, bill, owed, schedule)
  openedevent(no, appid, svc, bill, owed)
  return tonumber(due)
end

-- What described the final state is deleted. What was learnt of the order (its calls,
-- when it was last collected, a lease of a call that may be under way) stays, so that the
-- promises hold across the reopening. A call that is still under way for the previous
-- epoch finds a new one, and overwrites nothing.
local function reopen(key, no, appid, svc, due, rec, bill, owed, schedule)
  if rec.k then
    expand(key, WORDS)
    rec = FIELDS(key, state, round)
  end
  local state, round = rec.state, num(rec.round) + 1
  -- For the order's history.
  local was = FIELDS(key, past, ended, reason, acts, tally)
  tallied(RECOVERY, was.tally)
  local past = was.past and cjson.decode(was.past) or {}
  past[#past + 1] = {state = state, reason = was.reason or nil, ended = num(was.ended), reopened = now}
  if #past > PAST then table.remove(past, 1) end
  redis.call('HSET', key, 'past', cjson.encode(past))
  redis.call('HDEL', key, 'reason', 'ended', 'declines', 'confirms', 'fails', 'missing',
    'sync', 'syncwhy', 'paidat', 'late', 'off', 'tally')
  redis.call('HINCRBY', key, 'life', 1)
  redis.call('ZREM', ENDED[state], no)
  redis.call('HINCRBY', KEYS[3], state, -1)
  -- An order with a past is queried before it is collected again.
  redis.call('HSET', key, 'state', 'queued', 'appid', appid, 'svc', svc,
    'next', 'recheck', 'due', due, 'round', round, 'since', due)
  redis.call('HSETNX', key, 'opened', NOW)
  says(key, bill, owed, schedule)
  acted(key, AUDIT, now, 'reopen', no, deed, was.acts)
  emit(key, KEYS[2], 'order.reopened', no, nil, deed)
  return { 'accepted', 'queued', round, tonumber(due) }
end

-- All is read before anything is written: a script that fails midway undoes nothing, and
-- a record without its place in the index would be lost, since enqueueing it again finds
-- a duplicate.
local recs, dues, opens = {}, {}, {} -- by place in the call
local index, seen = {}, {}
-- Most calls are for new orders alone: one question instead of a read of each.
local NEW = redis.call('EXISTS', unpack(KEYS, FIRST)) == 0 and {}
for i = FIRST, #KEYS do
  local a = 7 * (i - FIRST) + 3
  local no, at = ARGV[a], ARGV[a + 3]
  local rec = NEW or FIELDS(KEYS[i], state, round, due, appid, svc, k)
  if not seen[no] and (not rec.state or ENDED[rec.state] and not done(KEYS[i])) then
    local look = LOOK
    dues[i] = NOW
    if at ~= '0' and tonumber(at) > now then dues[i], look = at, at end
    opens[i], seen[no] = true, true
    index[#index + 1], index[#index + 2] = look, no
  end
  recs[i] = rec
end
if #index > 0 then
  reached(KEYS[4], now)
  redis.call('ZADD', KEYS[1], unpack(index))
  redis.call('HINCRBY', KEYS[3], 'queued', #index / 2)
end

local reply = { now }
for i = FIRST, #KEYS do
  local key, a, at = KEYS[i], 7 * (i - FIRST) + 3, i - FIRST + 2
  local no, appid, svc = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if not opens[i] then
    -- The same number a second time in this call is open by now.
    if seen[no] then recs[i] = FIELDS(key, state, round, due, appid, svc) end
    reply[at] = answer(key, recs[i], appid, svc, seen[no])
  elseif recs[i].state then
    reply[at] = reopen(key, no, appid, svc, dues[i], recs[i], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6])
  else
    reply[at] = create(key, no, appid, svc, dues[i], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6])
  end
end
return reply
