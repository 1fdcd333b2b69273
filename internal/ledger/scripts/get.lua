-- get: an order's record and log, both as of one moment.
--
-- KEYS[1] order (hash)   KEYS[2] log (list)   KEYS[3] words (hash)
--
-- Returns {record as field, value, ...; log entries, newest first}.
return { record(KEYS[1], KEYS[3]), redis.call('LRANGE', KEYS[2], 0, -1) }
