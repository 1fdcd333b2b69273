-- hooktake: takes the events that hooks has found, and appends each to its order's list
-- of events that billing has not accepted yet. Then it returns orders whose delivery is
-- due. The cursor moves in the same step, so that no event is between the stream and its
-- order's list if a caller dies; if another call has moved it, nothing is taken. So the
-- events of an order keep their order, with any number of callers. After the cursor was set
-- back (hookreplay), an order may have later events in its list: an event goes before them.
--
-- KEYS[1] hooks (hash)   KEYS[2] hookdue (zset)   KEYS[3] hookwaiting (zset)
-- KEYS[4], … hook:<out_order_no> (list) of each event
-- ARGV[1] JSON {
--   before, cursor  the cursor before and after these events
--   ids, nos        entry ID and out_order_no of each event
--   take, grace     as in hooks
-- }
-- ARGV[2], … the fields of each event, as hooks has returned them
--
-- Returns {code, out_order_no and round of each order whose delivery is due}:
--   'taken'  the events are in the lists
--   'moved'  another call has taken them
local a = cjson.decode(ARGV[1])
local now = clock()

-- later reports whether an entry follows another one in the stream.
local function later(id, other)
  local ms, n = string.match(id, '^(%d+)-(%d+)')
  local ms2, n2 = string.match(other, '^(%d+)-(%d+)')
  ms, n, ms2, n2 = num(ms), num(n), num(ms2), num(n2)
  return ms > ms2 or ms == ms2 and n > n2
end

local code = 'moved'
if (redis.call('HGET', KEYS[1], 'cursor') or '') == a.before then
  code = 'taken'
  for i, no in ipairs(a.nos) do
    local list, id = KEYS[3 + i], a.ids[i]
    local entry, tail = id .. ' ' .. ARGV[1 + i], redis.call('LINDEX', list, -1)
    local place -- of the event in the list; nil if it is there already
    if not tail or later(id, tail) then
      place = redis.call('RPUSH', list, entry)
    else
      for at, other in ipairs(redis.call('LRANGE', list, 0, -1)) do
        if not later(id, other) then
          if string.match(other, '^(%S+)') ~= id then
            redis.call('LINSERT', list, 'BEFORE', other, entry)
            place = at
          end
          break
        end
      end
    end
    if place == 1 then redis.call('ZADD', KEYS[3], string.match(id, '^(%d+)'), no) end
    -- An order that waits for a receiver in trouble continues to wait: its events are
    -- delivered one after another.
    if place then redis.call('ZADD', KEYS[2], 'NX', now, no) end
  end
  redis.call('HSET', KEYS[1], 'cursor', a.cursor)
end
return handout({ code }, KEYS[1], KEYS[2], now, a.take, a.grace)
