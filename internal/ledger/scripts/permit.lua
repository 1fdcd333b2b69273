-- permit: asks, under a lease, whether the order that was just queried may be collected
-- in the same step (or, if it was withdrawn, whether WeChat Pay may be notified). It
-- checks again everything that may have changed since the claim, and renews the lease for
-- the second call.
--
-- KEYS[1] order (hash)   KEYS[2] due (zset)   KEYS[3] gate (hash)
-- KEYS[4] hold (hash)
-- ARGV[1] JSON {no, token, lease, interval, horizon, gap, windows} as in claim, life as in
--         settle, sync: true if the step was claimed for a sync, and probe: 1 if the claim
--         was a probe, whose query has just shown that the hold may end; else absent
--
-- Returns {code, now, wait us}:
--   'granted'   call after wait; negative as in claim
--   'lost'      the lease is another worker's
--   'ended'     the order reached a final state in the meantime
--   'postponed' no collect call is allowed before wait
--   'held'      a hold began in the meantime
--   'paused'    the merchant's collect calls are paused; put the order off for wait
--   'paced'     too many wait for a slot; ask again in wait
local a = cjson.decode(ARGV[1])
local now, now_us = clock()
local r = FIELDS(KEYS[1], state, token, collected, doing, lease, appid, svc, life, sync)
local act = r.state == 'withdrawn' and 'resync' or 'recollect'

if r.token ~= a.token then return { 'lost', now, 0 } end
if not working(r.state, r.sync) or (r.life or '') ~= (a.life or '') or (a.sync or false) ~= (act == 'resync') then return { 'ended', now, 0 } end
if r.doing == act then -- the answer to this very question was lost
  return { 'granted', now, math.min(a.horizon, (num(r.lease) - a.lease - now) * 1000) }
end
local h = redis.call('HMGET', KEYS[4], MERCHANT, service(r.appid, r.svc), 'pause')
if h[3] and not a.sync then
  local t = paused(KEYS[4], h[3], now)
  if t then return { 'paused', now, (t - now) * 1000 } end
end
if a.probe ~= 1 and (h[1] or h[2]) then return { 'held', now, 0 } end

local wait, take, again = slot(redis.call('HMGET', KEYS[3], 'tat', 'ticket', 'slow', 'slowat'), now_us, a.interval, a.horizon)
local at = now + math.ceil((wait or again) / 1000)
if not a.sync then
  local ok = earliest(at, collectedat(KEYS[1], r.collected, now), a.gap, a.windows or {})
  if ok > at then return { 'postponed', now, (ok - now) * 1000 } end
end
redis.call('HSET', KEYS[3], unpack(take))
if not wait then return { 'paced', now, again } end

redis.call('HSET', KEYS[1], 'next', 'resolve', 'lease', at + a.lease, 'doing', act)
if a.sync then
  redis.call('HINCRBY', KEYS[1], 'syncs', 1)
else
  redis.call('HSET', KEYS[1], 'collected', at + a.lease)
  redis.call('HINCRBY', KEYS[1], 'collects', 1)
end
redis.call('ZADD', KEYS[2], at + a.lease, a.no)
return { 'granted', now, wait }
