-- hookdrop: forgets the webhooks of orders, and the cursor, which keeps events in the
-- stream. For webhooks that are switched off for good.
--
-- KEYS[1] hooks (hash)   KEYS[2] hookdue (zset)   KEYS[3] hookwaiting (zset)
-- KEYS[4] audit (stream)   KEYS[5], … hook:<out_order_no> (list) of each order
-- ARGV[1] JSON {
--   nos   out_order_no of each order
--   last  true if no others wait
--   deed, detail  [by, reason, token] and the reader's name, for the trail; see audit.lua.
--         Only the first of several calls has a deed
-- }
--
-- Returns 1 if there was a cursor, and the orders were the last ones: until then the
-- webhooks are a reader that can be destroyed again, should the caller die.
local a = cjson.decode(ARGV[1])
auditonce(KEYS[4], (clock()), 'destroy-reader', a.deed, a.detail)
for i, no in ipairs(a.nos) do
  redis.call('DEL', KEYS[4 + i])
  redis.call('ZREM', KEYS[2], no)
  redis.call('ZREM', KEYS[3], no)
  redis.call('HDEL', KEYS[1], 'lease:' .. no, 'try:' .. no, 'failure:' .. no)
end
return a.last and redis.call('HDEL', KEYS[1], 'cursor') or 0
