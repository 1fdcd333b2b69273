-- jumped: a worker reports that Redis's clock has jumped, by the worker's own
-- clock that does not.
--
-- KEYS[1] sweep (hash)
-- ARGV[1] JSON {
--   by    ms; negative for a jump back
--   seen  the latest time of Redis that the worker has seen
-- }
--
-- Returns now.
local a = cjson.decode(ARGV[1])
local now = clock()
local r = redis.call('HMGET', KEYS[1], 'last', 'jump')
if wentback(KEYS[1], now, r[1], a.seen, r[2]) == 0 then
  -- The latest time tells whoever comes next, when the clock is put right again.
  redis.call('HSET', KEYS[1], 'last', math.max(num(r[1]), now))
  if a.by > 0 then redis.call('HSET', KEYS[1], 'jump', a.by .. ' ' .. now) end
end
return now
