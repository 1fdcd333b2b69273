-- workers: what a merchant's workers have reported.
--
-- KEYS[1] workers (hash)
--
-- Returns {now, the hash's fields and values in turn}.
return { (clock()), redis.call('HGETALL', KEYS[1]) }
