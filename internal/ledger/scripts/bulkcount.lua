-- bulkcount: adds a page of the orders that match to a bulk action. Orders for which it
-- has something to do go into the set todo; the others are only counted.
--
-- KEYS[1] bulk:<id> (hash)   KEYS[2] bulk:<id>:todo (set)
-- ARGV[1] JSON {
--   token, length  of the lease
--   from     the place at which the page begins: a page is added once
--   place    where the next page begins; '' after the last one
--   nos      out_order_no of each order
--   results  of each order, 'duplicate' or 'refused'; '' if there is something to do
--   amounts  of each order, in fen
--   keep     ms that it is kept when it is done
-- }
--
-- Returns {code, whether the token still has the lease}:
--   'counted'  the page was added
--   'moved'    it was added before; nothing changed
local a = cjson.decode(ARGV[1])
local now = clock()
local held = renew(KEYS[1], now, a.length, a.token) and 1 or 0
local r = redis.call('HMGET', KEYS[1], 'stage', 'place', 'total')
if r[1] ~= 'counting' or (r[2] or '') ~= a.from then return { 'moved', held } end
local matched, total, counted = 0, num(r[3]), { duplicate = 0, refused = 0 }
for i, no in ipairs(a.nos) do
  local result, new = a.results[i], nil
  if result == '' then
    new = redis.call('SADD', KEYS[2], no) == 1
  else
    new = redis.call('SISMEMBER', KEYS[2], no) == 0 -- an order can come twice
    if new then counted[result] = counted[result] + 1 end
  end
  if new then matched, total = matched + 1, total + a.amounts[i] end
end
-- Beyond 2^53 sums would not be exact, and no merchant is owed so much.
redis.call('HSET', KEYS[1], 'total', worded(math.min(total, 9007199254740992)), 'place', a.place)
redis.call('HINCRBY', KEYS[1], 'matched', matched)
for result, n in pairs(counted) do redis.call('HINCRBY', KEYS[1], result, n) end
if a.place == '' then
  redis.call('HSET', KEYS[1], 'stage', 'running')
  if redis.call('SCARD', KEYS[2]) == 0 then finish(KEYS[1], now, a.keep) end
end
return { 'counted', held }
