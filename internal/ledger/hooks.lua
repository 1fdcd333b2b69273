-- hooks: moves webhooks on. First it takes the ends of orders out of the stream,
-- from where it was left, and puts each behind its order's others that billing
-- has not taken yet. Then it hands out orders whose delivery is due, for the
-- caller to put into the queue, and looks at each again only after grace. As it
-- is one step, no event is between the stream and its order's list when a caller
-- dies, and an order's ends keep their order whoever calls, and how many at once.
--
-- KEYS[1] outcomes (stream)   KEYS[2] hooks (hash)   KEYS[3] hookdue (zset)
-- KEYS[4] hookwaiting (zset)
-- ARGV[1] JSON {
--   ends   the types of events that are ends
--   scan   how many events to take from the stream at most
--   most   how many orders may wait for billing; where there are as many, events
--          stay in the stream, which keeps them until they are taken
--   take   how many orders to hand out at most
--   grace  ms until an order that was handed out is looked at again
--   list   prefix of the keys of the orders' lists; they share the hash tag of
--          KEYS
-- }
--
-- Returns {now, more, foreign, then out_order_no, round of each order}. more is
-- 1 where the stream may have more to take; foreign is how many entries were
-- passed over that call themselves an end and name no order.
local a = cjson.decode(ARGV[1])
local now = clock()
local ends = {}
for _, kind in ipairs(a.ends) do ends[kind] = true end

-- later reports whether an entry comes after another one in the stream.
local function later(id, other)
  local ms, n = string.match(id, '^(%d+)-(%d+)')
  local ms2, n2 = string.match(other, '^(%d+)-(%d+)')
  ms, n, ms2, n2 = num(ms), num(n), num(ms2), num(n2)
  return ms > ms2 or ms == ms2 and n > n2
end

local before = redis.call('HGET', KEYS[2], 'cursor')
local cursor = before or '0-0'
local entries, foreign = {}, 0
if redis.call('ZCARD', KEYS[4]) < a.most then
  entries = redis.call('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', a.scan)
end
for _, entry in ipairs(entries) do
  local id, fields, f = entry[1], entry[2], {}
  for i = 1, #fields, 2 do f[fields[i]] = fields[i + 1] end
  cursor = id
  if ends[f.type or ''] then
    local no = f.no or ''
    local list = a.list .. no
    if #no > 32 or not string.find(no, '^[%w_|*-]+$') then
      foreign = foreign + 1
    elseif later(id, redis.call('LINDEX', list, -1) or '') then
      -- (Else the cursor was put back, and the order still has this end.)
      if redis.call('RPUSH', list, id .. ' ' .. cjson.encode(fields)) == 1 then
        redis.call('ZADD', KEYS[4], string.match(id, '^(%d+)'), no)
      end
      -- An order that waits for a receiver in trouble goes on waiting: its ends
      -- come one after another.
      redis.call('ZADD', KEYS[3], 'NX', now, no)
    end
  end
end
-- Set at the first look too: from then on nothing is trimmed that was not taken.
-- Otherwise only where it has moved, since a write is a write to the append-only
-- file, four times a second.
if cursor ~= before then redis.call('HSET', KEYS[2], 'cursor', cursor) end

local reply = { now, #entries == a.scan and 1 or 0, foreign }
if a.take <= 0 then return reply end
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, a.take)
for _, no in ipairs(due) do
  local held = num(string.match(redis.call('HGET', KEYS[2], 'lease:' .. no) or '', '(%d+)$'))
  if held > now then
    redis.call('ZADD', KEYS[3], held, no)
  else
    redis.call('ZADD', KEYS[3], now + a.grace, no)
    reply[#reply + 1] = no
    reply[#reply + 1] = redis.call('HINCRBY', KEYS[2], 'round', 1)
  end
end
return reply
