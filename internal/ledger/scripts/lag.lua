-- lag: for how many ms the first order of the index has been due; 0 for none.
--
-- KEYS[1] due (zset)
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then return 0 end
return math.max(0, (clock()) - num(first[2]))
