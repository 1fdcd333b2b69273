-- get: an order's record and log, both as of one moment.
--
-- KEYS[1] order (hash)   KEYS[2] log (list)
--
-- Returns {record as field, value, ...; log entries, newest first}.
return { redis.call('HGETALL', KEYS[1]), redis.call('LRANGE', KEYS[2], 0, -1) }
