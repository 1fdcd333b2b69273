-- destroyreader: forgets a reader of the stream of outcomes: a group that keeps its place in
-- Redis.
--
-- KEYS[1] outcomes (stream)   KEYS[2] audit (stream)
-- ARGV[1] JSON {
--   group  the reader's name
--   deed   [by, reason, token]; see audit.lua
-- }
--
-- Returns 1, and 0 if there is no such reader: then nothing is recorded, unless this call
-- is a repeated one that has destroyed it.
local a = cjson.decode(ARGV[1])
if redis.call('XGROUP', 'DESTROY', KEYS[1], a.group) == 0 then return audited(KEYS[2], a.deed[3]) and 1 or 0 end
audit(KEYS[2], (clock()), 'destroy-reader', '', a.deed, a.group)
return 1
