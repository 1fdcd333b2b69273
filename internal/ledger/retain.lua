-- retain: takes ended orders and their logs out of the ledger, a page of one
-- index at a time. Open ones never; nor those with a call under way, with a
-- payment that WeChat Pay has yet to be told of, or that were collected so short
-- a time ago that handed over again they could be collected too soon.
--
-- KEYS[1] ended:<state> (zset)   KEYS[2] stats (hash)
-- ARGV[1] JSON {
--   state
--   order, log  prefixes of the keys of records and logs; they share the hash
--               tag of KEYS
--   retention   ms from an order's end
--   gap         ms between two collect calls of an order
--   start       so many of the oldest were passed over before
--   limit       orders to look at
-- }
--
-- Returns {removed, passed over}.
local a = cjson.decode(ARGV[1])
local now = clock()
local removed, passed = 0, 0
for _, no in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - a.retention, 'LIMIT', a.start, a.limit)) do
  local key = a.order .. no
  local r = redis.call('HMGET', key, 'state', 'lease', 'sync', 'collected', 'paid')
  if r[1] ~= a.state then
    redis.call('ZREM', KEYS[1], no) -- not in this state any more, or gone
    removed = removed + 1
  elseif num(r[2]) > now or working(r[1], r[3]) or num(r[4]) + a.gap > now then
    passed = passed + 1
  else
    redis.call('DEL', key, a.log .. no)
    redis.call('ZREM', KEYS[1], no)
    redis.call('HINCRBY', KEYS[2], a.state, -1)
    if a.state == 'paid' and r[5] then
      redis.call('HINCRBY', KEYS[2], 'paid_amount', -r[5])
      redis.call('HINCRBY', KEYS[2], 'paid_left', r[5])
    end
    removed = removed + 1
  end
end
return { removed, passed }
