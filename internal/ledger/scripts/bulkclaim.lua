-- bulkclaim: gives a worker the lease of a bulk action, reserves it for a task, or gives
-- it back for the task that asynq retries.
--
-- KEYS[1] bulk:<id> (hash)
-- ARGV[1] JSON {
--   token   of who asks; '' to reserve it
--   holder  the token of the lease from now on; '' for a reservation
--   length  ms of the lease
-- }
--
-- Returns {code, round, fields}:
--   'granted'  the lease is as asked for
--   'leased'   another worker has it, or it is reserved already
--   'ended'    it is done
--   'absent'   there is no such bulk action
-- The round counts the reservations.
local a = cjson.decode(ARGV[1])
local now = clock()
local r = redis.call('HMGET', KEYS[1], 'stage', 'lease', 'round')
if not r[1] then return { 'absent', 0, {} } end
if r[1] == 'done' then return { 'ended', 0, {} } end
local has, round = holder(r[2], now), num(r[3])
if has and (a.token == '' or has ~= '' and has ~= a.token) then return { 'leased', round, {} } end
if a.token == '' then round = redis.call('HINCRBY', KEYS[1], 'round', 1) end
lease(KEYS[1], now, a.length, a.holder)
redis.call('PERSIST', KEYS[1])
return { 'granted', round, redis.call('HGETALL', KEYS[1]) }
