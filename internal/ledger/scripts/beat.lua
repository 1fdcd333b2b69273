-- beat: a worker reports that it is alive, and its settings. Reports of workers that
-- have been gone for keep are removed, unless it reports no settings.
--
-- KEYS[1] workers (hash)
-- ARGV[1] JSON {
--   id        the worker process
--   every     ms until its next report
--   stopped   true for its last one
--   settings  JSON text, written only where it differs from what is stored; '' to report
--             only that the worker is alive
--   keep      ms
-- }
--
-- Returns {now}.
local MOST = 1000 -- so many fields are removed at once; Lua passes on only so many
local a = cjson.decode(ARGV[1])
local now = clock()
local write = { 'seen:' .. a.id, table.concat({ now, a.every, a.stopped and 1 or 0 }, ' ') }
if a.settings == '' then
  redis.call('HSET', KEYS[1], unpack(write))
  return { now }
end
local remove = {}
local all = redis.call('HGETALL', KEYS[1])
local stored
for i = 1, #all, 2 do
  local id = string.match(all[i], '^seen:(.*)$')
  if all[i] == 'set:' .. a.id then
    stored = all[i + 1]
  elseif id and id ~= a.id and #remove < MOST and math.abs(now - num(string.match(all[i + 1], '^%d+'))) > a.keep then
    remove[#remove + 1] = 'seen:' .. id
    remove[#remove + 1] = 'set:' .. id
  end
end
if stored ~= a.settings then
  write[3], write[4] = 'set:' .. a.id, a.settings
end
redis.call('HSET', KEYS[1], unpack(write))
if #remove > 0 then redis.call('HDEL', KEYS[1], unpack(remove)) end
return { now }
