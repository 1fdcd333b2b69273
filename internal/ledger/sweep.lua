-- sweep: takes orders that are due and that no task is known to carry, for the
-- caller to put into the queue, and looks at each again only after grace. Any
-- number of workers may call it: one sweep an interval is let through.
--
-- KEYS[1] due (zset)   KEYS[2] gate (hash)
-- ARGV[1] JSON {
--   interval  ms between two sweeps; 0 to go on with a sweep that was begun
--   limit     how many orders to take at most
--   closed    how many at most while the merchant's gate is closed: enough
--             for its probes, no more
--   grace     ms until an order that was taken is looked at again
--   prefix    of the order records' keys; they share the hash tag of KEYS
-- }
--
-- Returns {code, now, n, oldest, then out_order_no, appid, service_id, round,
-- sync of each; sync is 'pending' where WeChat Pay is to be told of a withdrawal}:
--   'taken'    these orders; n is 1 where more may be due; oldest is the due
--              time of the first in the index, or 0
--   'not_yet'  another sweep was less than an interval ago; the next is in n ms
local a = cjson.decode(ARGV[1])
local now = clock()
local g = redis.call('HMGET', KEYS[2], 'sweepat', 'kind')
if a.interval > 0 then
  if num(g[1]) > now then return { 'not_yet', now, num(g[1]) - now, 0 } end
  redis.call('HSET', KEYS[2], 'sweepat', now + a.interval)
end

local limit = a.limit
if g[2] then limit = math.min(limit, a.closed) end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local reply = { 'taken', now, 0, num(oldest[2]) }
if limit <= 0 then return reply end
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, limit)
if #due == limit and not g[2] then reply[3] = 1 end
for _, no in ipairs(due) do
  local r = redis.call('HMGET', a.prefix .. no, 'state', 'appid', 'svc', 'round', 'lease', 'sync')
  local round = num(r[4])
  if not working(r[1], r[6]) then
    redis.call('ZREM', KEYS[1], no)
  elseif num(r[5]) > now then
    redis.call('ZADD', KEYS[1], r[5], no)
  else
    if r[5] then
      -- A lease that ran out unsettled: its worker died, and its task stands
      -- active in asynq, which takes it back after a minute or more. A new
      -- round has a new task.
      round = redis.call('HINCRBY', a.prefix .. no, 'round', 1)
      redis.call('HDEL', a.prefix .. no, 'lease')
    end
    redis.call('ZADD', KEYS[1], now + a.grace, no)
    reply[#reply + 1] = no
    reply[#reply + 1] = r[2]
    reply[#reply + 1] = r[3]
    reply[#reply + 1] = round
    reply[#reply + 1] = r[6] or ''
  end
end
return reply
