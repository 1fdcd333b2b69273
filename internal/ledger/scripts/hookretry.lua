-- hookretry: makes the delivery of webhooks due at once.
--
-- KEYS[1] hookdue (zset)   KEYS[2] audit (stream)
-- ARGV[1] JSON {
--   nos   out_order_no of each order; empty for all that wait for a later time
--   page  how many of all orders one call takes at most
--   deed, detail  [by, reason, token] and which orders, for the trail; see audit.lua.
--         Only the first of several calls has a deed
-- }
--
-- Returns the orders that are due now. A delivery that is under way continues: handout
-- respects its lease.
local a = cjson.decode(ARGV[1])
local now = clock()
local nos, due = a.nos, {}
auditonce(KEYS[2], now, 'retry-webhooks', a.deed, a.detail)
if #nos == 0 then
  nos = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%d', now), '+inf', 'LIMIT', 0, a.page)
end
for _, no in ipairs(nos) do
  local at = redis.call('ZSCORE', KEYS[1], no)
  if at then
    if num(at) > now then redis.call('ZADD', KEYS[1], now, no) end
    due[#due + 1] = no
  end
end
return due
