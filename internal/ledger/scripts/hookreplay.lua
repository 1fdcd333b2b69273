-- hookreplay: sets the webhooks' cursor back, so that the relay takes the events since a
-- time from the stream again. hooktake keeps the events of each order in their order.
--
-- KEYS[1] outcomes (stream)   KEYS[2] hooks (hash)   KEYS[3] audit (stream)
-- ARGV[1] JSON {
--   since  ms, 1 at least
--   begin  true if webhooks that have never run for the merchant begin there
--   deed, detail  [by, reason, token] and since when, for the trail; see audit.lua
-- }
--
-- Returns {code, the entry IDs of the first and the last event that are taken again}:
--   'replayed'  the cursor is set back
--   'ahead'     the relay has not taken any event since then, and nothing was changed
--   'begun'     the cursor is set for the first time
--   'absent'    there is no cursor: webhooks have never run for this merchant
local a = cjson.decode(ARGV[1])
local cursor = redis.call('HGET', KEYS[2], 'cursor')
local before = redis.call('XREVRANGE', KEYS[1], string.format('(%d-0', a.since), '-', 'COUNT', 1)[1]
before = before and before[1] or '0-0'
if not cursor and not a.begin then return { 'absent', '', '' } end
auditonce(KEYS[3], (clock()), 'replay-webhooks', a.deed, a.detail)
if not cursor then
  redis.call('HSET', KEYS[2], 'cursor', before)
  return { 'begun', '', '' }
end
local first = redis.call('XRANGE', KEYS[1], '(' .. before, cursor, 'COUNT', 1)[1]
if not first then return { 'ahead', '', '' } end
redis.call('HSET', KEYS[2], 'cursor', before)
return { 'replayed', first[1], cursor }
