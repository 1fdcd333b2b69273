-- rewind: gives a due order a new round, because the task of its round is stuck in the
-- queue and occupies the ID. It does nothing if the order has moved on.
--
-- KEYS[1] order (hash)
-- ARGV[1] round of the stuck task
--
-- Returns the new round, or 0.
local now = clock()
local r = FIELDS(KEYS[1], state, round, lease, sync)
if not working(r.state, r.sync) or r.round ~= ARGV[1] or num(r.lease) > now then return 0 end
return redis.call('HINCRBY', KEYS[1], 'round', 1)
