-- bulkopen: writes a merchant's part of a bulk action, once for its id.
--
-- KEYS[1] bulk:<id> (hash)   KEYS[2] audit (stream)
-- ARGV[1] JSON {
--   deed     [by, reason, token]; see audit.lua
--   action, filter, paidat  as Keys.Bulk has them
--   detail   what it does, for the trail
--   keep     ms after which it is removed if no worker has begun it
-- }
--
-- Returns 1 if it was written now, 0 if it is there already.
local a = cjson.decode(ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local now = clock()
redis.call('HSET', KEYS[1], 'stage', 'counting', 'action', a.action, 'filter', a.filter, 'paidat', a.paidat,
  'by', a.deed[1], 'reason', a.deed[2], 'created', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], a.keep)
audit(KEYS[2], now, 'bulk', '', a.deed, a.detail)
return 1
