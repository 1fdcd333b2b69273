-- stream: trims the stream of outcomes by age, but never past what a reader has not
-- read, and returns how far behind each reader is.
--
-- KEYS[1] outcomes (stream)   KEYS[2] hooks (hash)
-- ARGV[1] JSON {keep: ms that outcomes are kept; 0 to trim nothing}
--
-- Returns {now, then for each reader, as in readers: its group's name, entries that it was
-- given and has not acknowledged, ms since the oldest event that it has not finished (-1
-- if it has finished all)}.
local a = cjson.decode(ARGV[1])
local now = clock()
local reply = { now }
-- bound is the first event that must stay.
local bound = now - a.keep
readers(KEYS[1], KEYS[2], function(name, pending, oldest)
  reply[#reply + 1] = name
  reply[#reply + 1] = pending
  reply[#reply + 1] = oldest and math.max(0, now - oldest) or -1
  if oldest then bound = math.min(bound, oldest) end
end)
if a.keep > 0 then redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%d', math.max(0, bound))) end
return reply
