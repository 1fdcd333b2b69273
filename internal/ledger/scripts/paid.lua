-- paid: the records of those of some orders of which WeChat Pay has signed a payment.
--
-- KEYS[1] words (hash)   KEYS[2], KEYS[3], … the record of each order (hash)
--
-- Returns for each order {field, value, ...}, without any for an order without a payment.
local page = {}
for i = 2, #KEYS do
  page[#page + 1] = num(redis.call('HGET', KEYS[i], 'paid')) > 0 and record(KEYS[i], KEYS[1]) or {}
end
return page
