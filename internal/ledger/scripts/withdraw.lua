-- withdraw: ends the collection of an open order at billing's request. A call that is
-- under way keeps its lease: its result is recorded beside the final state, which stays.
-- With a time of payment the order stays in the due index until WeChat Pay has been
-- notified that the user paid elsewhere (sync).
--
-- KEYS[1] order (hash)   KEYS[2] due (zset)   KEYS[3] outcomes (stream)
-- KEYS[4] stats (hash)   KEYS[5] ended:withdrawn (zset)   KEYS[6] audit (stream)
-- KEYS[7] words (hash)   KEYS[8] sweep (hash)   KEYS[9] recovery (hash)
-- KEYS[10] log (list)
-- ARGV[1] out_order_no
-- ARGV[2] reason, billing's own words
-- ARGV[3] when the user paid elsewhere, yyyyMMddHHmmss in Asia/Shanghai; '' for
--         an order that is waived
-- ARGV[4] ms to leave the order to the task that the producer enqueues next
-- ARGV[5] by, who withdraws it   ARGV[6] the deed's token
--
-- Returns {code, state, round, appid, service_id}:
--   'accepted'   withdrawn now; or it was withdrawn before, and WeChat Pay must be
--                notified from now on (it was not, or that failed); or this very deed
--                has done it before
--   'duplicate'  withdrawn already; nothing changed
--   'ended'      it is in another final state; nothing changed
--   'absent'     there is no such order
local now = clock()
local rec = FIELDS(KEYS[1], TALLY, declines, round, sync, appid, svc, acts, k)
filled(KEYS[1], rec, KEYS[7])
local deed = { ARGV[5], ARGV[2], ARGV[6] }
local state, round = rec.state, num(rec.round)

if not state then return {'absent', '', 0, '', ''} end
if did(rec.acts, deed) then return {'accepted', state, round, rec.appid, rec.svc} end
local open = OPEN[state]
if state == 'withdrawn' then
  -- Under way, done, or not needed: there is nothing to notify.
  if ARGV[3] == '' or (rec.sync and rec.sync ~= 'failed') then return {'duplicate', state, round, rec.appid, rec.svc} end
elseif not open then
  return {'ended', state, round, rec.appid, rec.svc}
end

if rec.k then expand(KEYS[1], KEYS[7]) end
redis.call('HDEL', KEYS[1], 'next', 'due', 'declines', 'confirms', 'fails', 'missing', 'sync', 'syncwhy', 'paidat')
redis.call('ZREM', KEYS[2], ARGV[1])
if open then
  local write = { 'state', 'withdrawn', 'reason', ARGV[2], 'ended', now }
  rec.state, rec.ended = 'withdrawn', now
  if num(rec.declines) > 0 and unrecorded(rec, KEYS[10], 0) then
    rec.cause = '_'
    write[#write + 1] = 'cause'
    write[#write + 1] = rec.cause
  end
  recounted(KEYS[9], rec, now, write)
  redis.call('HSET', KEYS[1], unpack(write))
  redis.call('HINCRBY', KEYS[4], state, -1)
  redis.call('HINCRBY', KEYS[4], 'withdrawn', 1)
  redis.call('ZADD', KEYS[5], now, ARGV[1])
end
if ARGV[3] ~= '' then
  reached(KEYS[8], now)
  round = redis.call('HINCRBY', KEYS[1], 'round', 1)
  redis.call('HSET', KEYS[1], 'sync', 'pending', 'paidat', ARGV[3], 'next', 'sync', 'due', now, 'since', now)
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[1])
end
acted(KEYS[1], KEYS[6], now, 'withdraw', ARGV[1], deed, rec.acts)
-- The withdrawal is one event. A later --paid-at emits another, because the newest event
-- of an order must hold all that is known of it.
emit(KEYS[1], KEYS[3], open and 'order.withdrawn' or 'order.attempted', ARGV[1], nil, open and deed)
return {'accepted', 'withdrawn', round, rec.appid, rec.svc}
