-- open: writes orders into the ledger, or says why they are there already.
--
-- KEYS[1] due     (zset)    open orders by when the sweep looks next
-- KEYS[2] outcomes (stream) what happened to orders
-- KEYS[3] stats   (hash)    orders by state
-- KEYS[4], … orders (hash)  the orders' records
-- ARGV[1] ms to leave an order to the task that the producer enqueues next,
--         before the sweep takes care of it
-- ARGV[2] '1' to open ended orders again, else ''
-- ARGV[3] prefix of the ended indexes' keys; they share the hash tag of KEYS
-- ARGV[4], … of each order: out_order_no, appid, service_id, and not before,
--         Unix ms; 0 for at once
--
-- Returns of each order code, state, round, due ms, now ms:
--   'accepted'   the order is open now, and was not before
--   'duplicate'  it is open already; nothing changed
--   'conflict'   it is open under another appid or service_id; nothing changed
--   'ended'      it ended in state; nothing changed
local PAST = 10 -- so many ends are remembered of an order that is reopened

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local opened = 0

local function open(key, no, appid, svc, at)
  local rec = redis.call('HMGET', key, 'state', 'round', 'due', 'appid', 'svc')
  local state, round = rec[1], tonumber(rec[2]) or 0

  if state == 'queued' or state == 'awaiting' then
    local code = 'duplicate'
    if rec[4] ~= appid or rec[5] ~= svc then code = 'conflict' end
    return code, state, round, tonumber(rec[3]) or 0, now
  end

  local event_type = 'order.opened'
  if state then
    if ARGV[2] ~= '1' or state == 'paid' then
      return 'ended', state, round, 0, now
    end
    -- Everything that said how the order ended goes; what was learnt of it (its
    -- calls, when it was last collected, a lease that may still be held by a
    -- call under way) stays, so that the promises hold across the reopening. A
    -- call that is still under way for the life before finds a new one, and
    -- writes nothing over it.
    event_type = 'order.reopened'
    -- For whoever reads the order's story later.
    local was = redis.call('HMGET', key, 'past', 'ended', 'reason')
    local past = was[1] and cjson.decode(was[1]) or {}
    past[#past + 1] = {state = state, reason = was[3] or nil, ended = tonumber(was[2]) or 0, reopened = now}
    if #past > PAST then table.remove(past, 1) end
    redis.call('HSET', key, 'past', cjson.encode(past))
    redis.call('HDEL', key, 'reason', 'ended', 'declines', 'confirms', 'fails', 'missing',
      'sync', 'syncwhy', 'paidat', 'late')
    redis.call('HINCRBY', key, 'life', 1)
    redis.call('ZREM', ARGV[3] .. state, no)
    redis.call('HINCRBY', KEYS[3], state, -1)
  end

  local due = math.max(now, tonumber(at))
  local plan = 'collect'
  -- An order with a past is looked at before it is collected again.
  if state then plan = 'recheck' end
  round = round + 1
  local look = due
  if due <= now then look = now + tonumber(ARGV[1]) end
  redis.call('ZADD', KEYS[1], look, no)
  opened = opened + 1
  if state then
    redis.call('HSET', key, 'state', 'queued', 'appid', appid, 'svc', svc,
      'next', plan, 'due', due, 'round', round, 'since', due)
    redis.call('HSETNX', key, 'opened', now)
    emit(key, KEYS[2], event_type, no)
  else
    redis.call('HSET', key, 'state', 'queued', 'appid', appid, 'svc', svc,
      'next', plan, 'due', due, 'round', round, 'since', due, 'opened', now, 'events', 1)
    event(KEYS[2], event_type, no, 1, { 'queued', nil, appid, svc, nil, nil, nil, nil, nil, nil, now })
  end
  return 'accepted', 'queued', round, due, now
end

local reply = {}
for i = 4, #KEYS do
  local a, r = 4 * (i - 3), 5 * (i - 4)
  reply[r + 1], reply[r + 2], reply[r + 3], reply[r + 4], reply[r + 5] =
    open(KEYS[i], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3])
end
if opened > 0 then redis.call('HINCRBY', KEYS[3], 'queued', opened) end
return reply
