-- acknowledge: records that a person has seen what an operator must look at.
--
-- KEYS[1] acks (hash)   KEYS[2] audit (stream)
-- ARGV[1] the matter, which names the field   ARGV[2] its occurrence: a newer one is not
-- acknowledged   ARGV[3] out_order_no, or ''   ARGV[4] by   ARGV[5] note   ARGV[6] token
--
-- The value is a JSON array of [ms, by, note, occurrence, token].
--
-- Returns 1 if it was recorded now, 0 if this very deed has done it before.
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and cjson.decode(old)[5] == ARGV[6] then return 0 end
local now = clock()
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode({ now, ARGV[4], ARGV[5], ARGV[2], ARGV[6] }))
audit(KEYS[2], now, 'acknowledge', ARGV[3], { ARGV[4], ARGV[5], ARGV[6] }, ARGV[1])
return 1
