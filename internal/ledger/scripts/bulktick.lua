-- bulktick: notes what became of some orders of a bulk action, of each once.
--
-- KEYS[1] bulk:<id> (hash)   KEYS[2] bulk:<id>:todo (set)
-- ARGV[1] JSON {
--   token, length  of the lease
--   nos      out_order_no of each order
--   results  of each order: 'done', 'duplicate' or 'refused'
--   keep     ms that it is kept when it is done
-- }
--
-- Returns {how many orders are left, whether the token still has the lease}.
local a = cjson.decode(ARGV[1])
local now = clock()
local held = renew(KEYS[1], now, a.length, a.token) and 1 or 0
for i, no in ipairs(a.nos) do
  if redis.call('SREM', KEYS[2], no) == 1 then redis.call('HINCRBY', KEYS[1], a.results[i], 1) end
end
local left = redis.call('SCARD', KEYS[2])
if left == 0 and redis.call('HGET', KEYS[1], 'stage') == 'running' then finish(KEYS[1], now, a.keep) end
return { left, held }
