-- hooks: looks for final states in the stream, from its cursor on. If there are any,
-- hooktake takes them; otherwise it returns orders whose delivery is due, for the caller
-- to enqueue.
--
-- KEYS[1] outcomes (stream)   KEYS[2] hooks (hash)   KEYS[3] hookdue (zset)
-- KEYS[4] hookwaiting (zset)
-- ARGV[1] JSON {
--   ends   the types of events that report a final state
--   scan   how many events to take from the stream at most
--   most   how many orders may wait for billing; at that number events stay in the
--          stream, which keeps them until they are taken
--   take   how many orders to return at most
--   grace  ms until an order that was returned is due again
-- }
--
-- Returns {code, more, foreign, ...}. more is 1 if the stream may have more; foreign is
-- how many entries were skipped that have the type of a final state and name no order.
-- Closed books wait under books:<date> instead of an out_order_no.
--   'ends'  the cursor, '' for none, and the cursor after these events; then entry ID,
--           out_order_no and fields as a JSON array of each
--   'due'   out_order_no and round of each order
local a = cjson.decode(ARGV[1])
local now = clock()
local ends = {}
for _, kind in ipairs(a.ends) do ends[kind] = true end

local before = redis.call('HGET', KEYS[2], 'cursor')
local cursor = before or '0-0'
local entries, foreign, found = {}, 0, { 'ends', 0, 0, before or '', '' }
if redis.call('ZCARD', KEYS[4]) < a.most then
  entries = redis.call('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', a.scan)
end
for _, entry in ipairs(entries) do
  local id, fields, f = entry[1], entry[2], {}
  for i = 1, #fields, 2 do f[fields[i]] = fields[i + 1] end
  cursor = id
  if ends[f.type or ''] then
    local no = f.no or ''
    local book = f.type == 'books.closed' and string.match(f.date or '', '^%d%d%d%d%-%d%d%-%d%d$')
    if book then
      no = 'books:' .. book
    elseif #no > 32 or not string.find(no, '^[%w_|*-]+$') then
      no = nil
    end
    if not no then
      foreign = foreign + 1
    else
      found[#found + 1] = id
      found[#found + 1] = no
      found[#found + 1] = cjson.encode(fields)
    end
  end
end
local more = #entries == a.scan and 1 or 0
if #found > 5 then
  found[2], found[3], found[5] = more, foreign, cursor
  return found
end
-- Set at the first call too: from then on nothing is trimmed that was not taken.
-- Otherwise only if it has moved, since every write goes to the append-only file, four
-- times a second.
if cursor ~= before then redis.call('HSET', KEYS[2], 'cursor', cursor) end
return handout({ 'due', more, foreign }, KEYS[2], KEYS[3], now, a.take, a.grace)
