-- forget: removes old entries of a merchant's trail.
--
-- KEYS[1] audit (stream)
-- ARGV[1] ms that entries are kept
--
-- Returns how many were removed.
return redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', math.max(0, (clock()) - ARGV[1])))
