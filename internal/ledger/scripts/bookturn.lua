-- bookturn: gives one of all workers and commands the turn to close a merchant's books, or
-- ends its turn.
--
-- KEYS[1] bookkeeping (hash)
-- ARGV[1] JSON {
--   token  whose turn it is
--   lease  ms until it ends; 0 ends it now
--   date   a day that is not to be tried again for a while; '' for none
--   again  ms; below 0 if the day is not retried
--   begin  the first day whose books workers close, unless it is known; '' for none
-- }
--
-- Returns {code, now}:
--   'granted'  it is the caller's turn, or was
--   'held'     it is another one's
local LONGEST = 60 * 60 * 1000 -- a turn that ends later was written before Redis's clock went back
local a = cjson.decode(ARGV[1])
local now = clock()
local token, till = string.match(redis.call('HGET', KEYS[1], 'turn') or '', '^(%S+) (%d+)$')
till = num(till)
if token and token ~= a.token and till > now and till <= now + LONGEST then return { 'held', now } end
if a.lease > 0 then
  redis.call('HSET', KEYS[1], 'turn', a.token .. ' ' .. string.format('%.0f', now + math.min(a.lease, LONGEST)))
elseif token == a.token then
  redis.call('HDEL', KEYS[1], 'turn')
end
if a.begin ~= '' then redis.call('HSETNX', KEYS[1], 'since', a.begin) end
if a.date ~= '' and a.again < 0 then
  redis.call('HDEL', KEYS[1], 'again:' .. a.date)
elseif a.date ~= '' then
  redis.call('HSET', KEYS[1], 'again:' .. a.date, now + a.again)
end
return { 'granted', now }
