-- stream: trims the stream of outcomes by age, but never past what a reader has not
-- read, and returns how far behind each reader is.
--
-- KEYS[1] outcomes (stream)   KEYS[2] hooks (hash)
-- ARGV[1] JSON {keep: ms that outcomes are kept; 0 to trim nothing}
--
-- Returns {now, then for each reader: its group's name, entries that it was given and has
-- not acknowledged, ms since the oldest event that it has not finished (-1 if it has
-- finished all)}. The relay of webhooks has its own cursor, and the name 'webhooks'.
local a = cjson.decode(ARGV[1])
local now = clock()
local reply = { now }
if redis.call('EXISTS', KEYS[1]) == 0 then return reply end

local function ms(id) return num(string.match(id, '^(%d+)')) end

-- bound is the first event that must stay.
local bound = now - a.keep
local function reader(name, pending, first, read)
  -- The oldest of what it was given and what it was not: a group that was set back
  -- (XGROUP SETID) has unread events before its pending ones.
  local oldest = first
  local unread = redis.call('XRANGE', KEYS[1], '(' .. read, '+', 'COUNT', 1)
  if unread[1] and (not oldest or ms(unread[1][1]) < ms(oldest)) then oldest = unread[1][1] end
  reply[#reply + 1] = name
  reply[#reply + 1] = pending
  reply[#reply + 1] = oldest and math.max(0, now - ms(oldest)) or -1
  if oldest then bound = math.min(bound, ms(oldest)) end
end

for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local g = {}
  for i = 1, #group, 2 do g[group[i]] = group[i + 1] end
  local pending, first = num(g.pending), nil
  if pending > 0 then first = redis.call('XPENDING', KEYS[1], g.name)[2] end
  reader(g.name, pending, first, g['last-delivered-id'])
end
local cursor = redis.call('HGET', KEYS[2], 'cursor')
if cursor then reader('webhooks', 0, nil, cursor) end

if a.keep > 0 then redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%d', math.max(0, bound))) end
return reply
