-- ask: has an order queried of which a bill has a payment that the ledger has not. An open
-- order's next step becomes a query, at once. An order in another final state than paid has
-- no steps: the caller gets its lease, and queries.
--
-- KEYS[1] order (hash)   KEYS[2] due (zset)   KEYS[3] words (hash)
-- KEYS[4] bookkeeping (hash)   KEYS[5] sweep (hash)   KEYS[6] gate (hash)
-- ARGV[1] JSON {
--   no     out_order_no
--   token  of the lease; '' for a caller that does not query
--   lease  ms from the moment of the call to the end of the lease
--   grace  ms to leave an open order to the task that the caller enqueues
--   sure, interval, horizon   as in claim
-- }
--
-- Returns {code, now, appid, service_id, round, wait us}:
--   'open'    it is due now, and its next step is a query
--   'ended'   the caller has its lease, and queries after wait; without a token, nothing
--             changed
--   'paced'   too many wait for a slot; ask again in wait
--   'later'   a worker has it now; ask again
--   'done'    it is paid, or there is no such order; or a sweep takes it next
local a = cjson.decode(ARGV[1])
local now, now_us = clock()
local asked = 'ask:' .. a.no
local r = FIELDS(KEYS[1], state, next, due, lease, round, sync, k)
if not r.state or r.state == 'paid' then
  redis.call('HDEL', KEYS[4], asked)
  return { 'done', now, '', '', 0, 0 }
end
if r.lease and leased(r.lease, now, a.sure) > 0 then return { 'later', now, '', '', 0, 0 } end

if working(r.state, r.sync) then
  local plan = r.next
  -- The other plans query already.
  if plan == 'collect' or plan == 'recheck' or plan == 'sync' then plan = 'inspect' end
  reached(KEYS[5], now)
  local round = num(r.round) + 1 -- so that no task that waits in the queue delays it
  redis.call('HSET', KEYS[1], 'next', plan, 'due', math.min(now, num(r.due)), 'off', 1, 'round', round)
  redis.call('HDEL', KEYS[4], asked)
  if not OPEN[r.state] then -- a sync is pending, whose tasks are the sweep's
    redis.call('ZADD', KEYS[2], now, a.no)
    return { 'done', now, '', '', 0, 0 }
  end
  redis.call('ZADD', KEYS[2], now + a.grace, a.no)
  local o = FIELDS(KEYS[1], appid, svc)
  return { 'open', now, o.appid or '', o.svc or '', round, 0 }
end

if a.token == '' then return { 'ended', now, '', '', 0, 0 } end
local wait, take, again = slot(redis.call('HMGET', KEYS[6], 'tat', 'ticket', 'slow', 'slowat'), now_us, a.interval, a.horizon)
redis.call('HSET', KEYS[6], unpack(take))
if not wait then return { 'paced', now, '', '', 0, again } end
if r.k then expand(KEYS[1], KEYS[3]) end
redis.call('HSET', KEYS[1], 'token', a.token, 'lease', now + math.ceil(wait / 1000) + a.lease)
local o = FIELDS(KEYS[1], appid, svc)
return { 'ended', now, o.appid or '', o.svc or '', num(r.round), wait }
