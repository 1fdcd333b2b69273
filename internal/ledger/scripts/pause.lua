-- pause: stops the collect calls of a merchant, or changes a pause.
--
-- KEYS[1] hold (hash)   KEYS[2] audit (stream)
-- ARGV[1] ms until it ends by itself; 0 if only a person ends it
-- ARGV[2] by   ARGV[3] reason   ARGV[4] the deed's token
-- ARGV[5] the length in words, for the trail
--
-- Returns {since, end}; the end is 0 if only a person ends it.
local now = clock()
local r = redis.call('HMGET', KEYS[1], 'pause', 'pausewhy')
local since, ends = pauseof(r[1], now)
if since and r[2] and cjson.decode(r[2])[3] == ARGV[4] then return { since, ends } end
redis.call('HSET', KEYS[1], 'pause', string.format('%.0f %s', now, ARGV[1]), 'pausewhy', cjson.encode({ ARGV[2], ARGV[3], ARGV[4] }))
audit(KEYS[2], now, 'pause', '', { ARGV[2], ARGV[3], ARGV[4] }, ARGV[5])
local length = num(ARGV[1])
return { now, length > 0 and now + length or 0 }
