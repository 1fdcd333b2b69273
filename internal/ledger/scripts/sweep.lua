-- sweep: finds orders that are due and that no known task carries; take then takes them.
-- Any number of workers may call it: one sweep an interval is allowed.
--
-- KEYS[1] due (zset)   KEYS[2] sweep (hash)   KEYS[3] hold (hash)   KEYS[4] paused (zset)
-- ARGV[1] JSON {
--   interval  ms between two sweeps; 0 to continue a sweep that has begun
--   dry       true for a sweep between two regular ones, because a worker has run dry:
--             interval is then that between two of these
--   lost      true if the queue's mark is missing, and the field queue says that a sweep
--             has set it; the caller then sets it again
--   limit     how many orders to find at most
--   closed    how many at most while the merchant is held: enough for its probes
--   expected, age  see wentback in clock.lua
-- }
--
-- Returns {code, now, n, oldest, back, lost, parked, then out_order_no of each}:
--   'taken'    these orders are due; n is 1 if there may be more; oldest is the due time
--              of the first in the index, or 0
--   'not_yet'  another sweep was less than an interval ago; the next is in n ms
-- back is how many ms Redis's clock has gone back since the last sweep, or 0. lost is 1
-- if the queue was lost: mend makes what it carried due for a sweep, and the caller then
-- continues. parked is 1 if a pause has ended and there are orders that it has put off; see
-- unpause.
local a = cjson.decode(ARGV[1])
local now = clock()
local g = redis.call('HMGET', KEYS[2], 'last', 'jump', 'at', 'dry')
local back = wentback(KEYS[2], KEYS[3], now, g, a)
if a.interval > 0 then
  -- A time further ahead was written before the clock went back, or before the
  -- interval was shortened.
  local turn, at = 'at', num(g[3])
  if a.dry then turn, at = 'dry', num(g[4]) end
  if back == 0 and at > now and at <= now + a.interval then return { 'not_yet', now, at - now, 0, 0, 0, 0 } end
  redis.call('HSET', KEYS[2], turn, now + a.interval, 'last', now)
end

local lost = 0
if a.lost then
  lost = 1
  redis.call('HSETNX', KEYS[2], 'mend', '0 due ' .. now .. ' 0')
end

local limit = a.limit
local stopped = redis.call('HEXISTS', KEYS[3], MERCHANT) == 1
if stopped then limit = math.min(limit, a.closed) end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local reply = { 'taken', now, 0, num(oldest[2]), back, lost, 0 }
local pause = paused(KEYS[3], redis.call('HGET', KEYS[3], 'pause'), now)
if not pause and redis.call('EXISTS', KEYS[4]) == 1 then reply[7] = 1 end
if limit <= 0 or lost == 1 then return reply end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, limit)
if #due == limit and not stopped then reply[3] = 1 end
for _, no in ipairs(due) do reply[#reply + 1] = no end
return reply
