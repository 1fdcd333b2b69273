-- list: one page of an index with the records of its orders, and the newest
-- entries of their logs, for the last error.
--
-- KEYS[1] index (zset): due or ended:<state>
-- ARGV[1] JSON {prefix, log: key prefixes; they share the hash tag of KEYS,
--               start, count: the page; newest: true for descending order;
--               entries: how much of each log}
--
-- Returns for each order {out_order_no, record, log entries}.
local a = cjson.decode(ARGV[1])
local range = 'ZRANGE'
if a.newest then range = 'ZREVRANGE' end
local page = {}
for _, no in ipairs(redis.call(range, KEYS[1], a.start, a.start + a.count - 1)) do
  page[#page + 1] = { no, redis.call('HGETALL', a.prefix .. no), redis.call('LRANGE', a.log .. no, 0, a.entries - 1) }
end
return page
