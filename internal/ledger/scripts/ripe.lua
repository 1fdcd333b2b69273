-- ripe: a page of the finished orders whose turn it is to be kept compact: every reader
-- has read their final states, and the time after them has passed.
--
-- KEYS[1] outcomes (stream)   KEYS[2] hooks (hash)   KEYS[3] sweep (hash)
-- KEYS[4] whole (zset)   KEYS[5], … ended:<state> (zset) of each of states
-- ARGV[1] JSON {
--   states
--   after    ms since an order's final state
--   patient  ms since an order's final state after which it waits for no reader; not less
--            than after
--   limit    size of the page
-- }
--
-- Returns {the field of the hash sweep that compact must set, and its value; then
-- out_order_no of each}. Both are '' for orders of the zset whole.
--
-- The field kept:<state> is how far the index of a state was read: "<ms> <n>", after n
-- members of that score.
local a = cjson.decode(ARGV[1])
local now = clock()
local again = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, a.limit)
if #again > 0 then return { '', '', unpack(again) } end

local bound = now - a.after
readers(KEYS[1], KEYS[2], function(_, _, oldest)
  -- Where time goes on during a script, an event is a little later than its order's end.
  if oldest then bound = math.min(bound, oldest - JUMP) end
end)
bound = math.max(bound, now - a.patient)
for i, state in ipairs(a.states) do
  local field = 'kept:' .. state
  local from, n = string.match(redis.call('HGET', KEYS[3], field) or '', '^(%d+) (%d+)$')
  from, n = num(from), num(n)
  if from > now - a.after then
    -- Redis's clock was ahead when that was written.
    from, n = math.max(0, now - a.after), 0
    redis.call('HSET', KEYS[3], field, string.format('%.0f 0', from))
  end
  local page = redis.call('ZRANGEBYSCORE', KEYS[4 + i], from, bound, 'WITHSCORES', 'LIMIT', n, a.limit)
  if #page > 0 then
    local last = page[#page]
    if num(last) > from then n = 0 end
    local reply = { field, '' }
    for j = 1, #page, 2 do
      reply[#reply + 1] = page[j]
      if page[j + 1] == last then n = n + 1 end
    end
    reply[2] = string.format('%.0f %d', num(last), n)
    return reply
  end
end
return { '', '' }
