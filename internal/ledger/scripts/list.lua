-- list: the records of some orders, and the newest entries of their logs, which show
-- the last error.
--
-- KEYS[1] words (hash)   KEYS[2], KEYS[3], … of each order the record (hash) and the log (list)
-- ARGV[1] how many entries of each log
--
-- Returns for each order {record, log entries}.
local page = {}
for i = 2, #KEYS, 2 do
  page[#page + 1] = { record(KEYS[i], KEYS[1]), redis.call('LRANGE', KEYS[i + 1], 0, ARGV[1] - 1) }
end
return page
