-- jumped: a worker reports that Redis's clock has jumped, measured by the worker's own
-- clock, which does not jump.
--
-- KEYS[1] sweep (hash)   KEYS[2] hold (hash)
-- ARGV[1] JSON {
--   by             ms; negative for a jump back
--   expected, age  see wentback in clock.lua
-- }
--
-- Returns now.
local a = cjson.decode(ARGV[1])
local now = clock()
local r = redis.call('HMGET', KEYS[1], 'last', 'jump')
if wentback(KEYS[1], KEYS[2], now, r, a) == 0 then
  -- The latest time shows the jump when the clock is set right again.
  redis.call('HSET', KEYS[1], 'last', math.max(num(r[1]), now))
  if a.by > 0 then redis.call('HSET', KEYS[1], 'jump', a.by .. ' ' .. now) end
end
return now
