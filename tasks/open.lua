-- open: writes an order into the ledger, or says why it is there already.
--
-- KEYS[1] order   (hash)    the order's record
-- KEYS[2] due     (zset)    open orders by when the sweep looks next
-- KEYS[3] outcomes (stream) what happened to orders
-- KEYS[4] stats   (hash)    orders by state
-- ARGV[1] out_order_no
-- ARGV[2] appid
-- ARGV[3] service_id
-- ARGV[4] not before, Unix ms; 0 for at once
-- ARGV[5] ms to leave the order to the task that the producer enqueues next,
--         before the sweep takes care of it
-- ARGV[6] '1' to open an ended order again, else ''
-- ARGV[7] prefix of the ended indexes' keys; they share the hash tag of KEYS
--
-- Returns {code, state, round, due ms, now ms}:
--   'accepted'   the order is open now, and was not before
--   'duplicate'  it is open already; nothing changed
--   'conflict'   it is open under another appid or service_id; nothing changed
--   'ended'      it ended in state; nothing changed
local PAST = 10 -- so many ends are remembered of an order that is reopened

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local rec = redis.call('HMGET', KEYS[1], 'state', 'round', 'due', 'appid', 'svc')
local state, round = rec[1], tonumber(rec[2]) or 0

if state == 'queued' or state == 'awaiting' then
  local code = 'duplicate'
  if rec[4] ~= ARGV[2] or rec[5] ~= ARGV[3] then code = 'conflict' end
  return {code, state, round, tonumber(rec[3]) or 0, now}
end

local event = 'order.opened'
if state then
  if ARGV[6] ~= '1' or state == 'paid' then
    return {'ended', state, round, 0, now}
  end
  -- Everything that said how the order ended goes; what was learnt of it (its
  -- calls, when it was last collected, a lease that may still be held by a
  -- call under way) stays, so that the promises hold across the reopening. A
  -- call that is still under way for the life before finds a new one, and
  -- writes nothing over it.
  event = 'order.reopened'
  -- For whoever reads the order's story later.
  local was = redis.call('HMGET', KEYS[1], 'past', 'ended', 'reason')
  local past = was[1] and cjson.decode(was[1]) or {}
  past[#past + 1] = {state = state, reason = was[3] or nil, ended = tonumber(was[2]) or 0, reopened = now}
  if #past > PAST then table.remove(past, 1) end
  redis.call('HSET', KEYS[1], 'past', cjson.encode(past))
  redis.call('HDEL', KEYS[1], 'reason', 'ended', 'declines', 'confirms', 'fails', 'missing',
    'sync', 'syncwhy', 'paidat', 'late')
  redis.call('HINCRBY', KEYS[1], 'life', 1)
  redis.call('ZREM', ARGV[7] .. state, ARGV[1])
  redis.call('HINCRBY', KEYS[4], state, -1)
end

local due = math.max(now, tonumber(ARGV[4]))
local plan = 'collect'
-- An order with a past is looked at before it is collected again.
if state then plan = 'recheck' end
round = round + 1
redis.call('HSET', KEYS[1], 'state', 'queued', 'appid', ARGV[2], 'svc', ARGV[3],
  'next', plan, 'due', due, 'round', round, 'since', due)
redis.call('HSETNX', KEYS[1], 'opened', now)
local look = due
if due <= now then look = now + tonumber(ARGV[5]) end
redis.call('ZADD', KEYS[2], look, ARGV[1])
redis.call('HINCRBY', KEYS[4], 'queued', 1)
emit(KEYS[1], KEYS[3], event, ARGV[1])
return {'accepted', 'queued', round, due, now}
