-- hookmend: moves back the delivery times of webhooks that were written before Redis's
-- clock went back, one page at a time, after mend.
--
-- KEYS[1] hookdue (zset)   KEYS[2] sweep (hash)
-- ARGV[1] what the field mend said: "<ms> hookdue <score> 0"
-- ARGV[2] size of a page
--
-- Returns {the new value of the field mend, '' if all are moved; how many were moved}.
local mend = redis.call('HGET', KEYS[2], 'mend') or ''
local by, from = string.match(mend, '^(%d+) hookdue (%S+) 0$')
if mend ~= ARGV[1] or not by then return { mend, 0 } end
local page = redis.call('ZRANGEBYSCORE', KEYS[1], from, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #page, 2 do redis.call('ZADD', KEYS[1], num(page[i + 1]) - num(by), page[i]) end
if #page < 2 * num(ARGV[2]) then
  redis.call('HDEL', KEYS[2], 'mend')
  return { '', #page / 2 }
end
mend = by .. ' hookdue ' .. page[#page] .. ' 0'
redis.call('HSET', KEYS[2], 'mend', mend)
return { mend, #page / 2 }
