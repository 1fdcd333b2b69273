-- resume: ends the pause of a merchant. unpause then brings its orders back.
--
-- KEYS[1] hold (hash)   KEYS[2] audit (stream)
-- ARGV[1] by   ARGV[2] reason   ARGV[3] the deed's token
--
-- Returns 1 if the merchant was paused, else 0: nothing was changed.
local now = clock()
local since = pauseof(redis.call('HGET', KEYS[1], 'pause'), now)
redis.call('HDEL', KEYS[1], 'pause', 'pausewhy')
if not since then return 0 end
audit(KEYS[2], now, 'resume', '', { ARGV[1], ARGV[2], ARGV[3] })
return 1
