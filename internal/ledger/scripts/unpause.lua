-- unpause: makes orders due that a pause has put off, when it has ended. The rate spaces
-- their calls.
--
-- KEYS[1] paused (zset)   KEYS[2] due (zset)   KEYS[3] hold (hash)
-- KEYS[4] sweep (hash)   KEYS[5], … orders (hash)
-- ARGV[1] JSON {nos: out_order_no of each order}
--
-- Returns {'unpaused' or 'paused', how many orders were made due}.
local a = cjson.decode(ARGV[1])
local now = clock()
if paused(KEYS[3], redis.call('HGET', KEYS[3], 'pause'), now) then return { 'paused', 0 } end
reached(KEYS[4], now)
local made = 0
for i, no in ipairs(a.nos) do
  local key = KEYS[4 + i]
  local r = FIELDS(key, state, off, due, lease)
  -- Otherwise it was worked on since, or has ended.
  if OPEN[r.state] and r.off == '2' and not r.lease and num(r.due) > now then
    redis.call('HSET', key, 'due', now, 'off', 1)
    redis.call('ZADD', KEYS[2], now, no)
    made = made + 1
  end
  redis.call('ZREM', KEYS[1], no)
end
return { 'unpaused', made }
