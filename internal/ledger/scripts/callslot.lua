-- callslot: takes a slot of the merchant's rate for a call that is of no order.
--
-- KEYS[1] gate (hash)
-- ARGV[1] JSON {interval, horizon} as in claim
--
-- Returns {code, now, wait us}:
--   'granted'  call after wait
--   'paced'    too many wait for a slot; ask again in wait
local a = cjson.decode(ARGV[1])
local now, now_us = clock()
local wait, take, again = slot(redis.call('HMGET', KEYS[1], 'tat', 'ticket', 'slow', 'slowat'), now_us, a.interval, a.horizon)
redis.call('HSET', KEYS[1], unpack(take))
if not wait then return { 'paced', now, again } end
return { 'granted', now, wait }
