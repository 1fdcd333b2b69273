-- compact: keeps the records of finished orders compact, and deletes their logs but for
-- what the last error needs. It leaves out orders that are open, that a call under way or
-- a sync may change soon, whose webhook billing has not accepted, or that were collected
-- so recently that they could be collected too soon if they were reopened: they come
-- again after a while.
--
-- KEYS[1] sweep (hash)   KEYS[2] words (hash)   KEYS[3] hookwaiting (zset)
-- KEYS[4] whole (zset)
-- KEYS[5], KEYS[6], … of each order the record (hash) and the log (list)
-- ARGV[1] JSON {
--   nos           out_order_no of each order
--   field, value  what ripe has said
--   after         ms since an order's final state
--   gap           ms between two collect calls of an order
--   again         ms until an order that is left out comes again
--   sure          as in claim
-- }
--
-- Returns {how many are compact now that were not}.
local a = cjson.decode(ARGV[1])
local now = clock()

-- DROPPED are fields that say nothing of a finished order without a call under way.
local DROPPED = {}
for _, name in ipairs({ 'next', 'due', 'off', 'since', 'token', 'lease', 'doing', 'done', 'collected', 'declines', 'confirms', 'fails', 'missing', 'accepted' }) do
  DROPPED[name] = true
end

-- WORDS is how many texts words has at most. Half of them are kept for owners, because
-- there may be any number of reasons and messages.
local WORDS = 2000
local function word(said, owner)
  local n = redis.call('HGET', KEYS[2], '=' .. said)
  if n then return num(n) end
  n = redis.call('HLEN', KEYS[2]) / 2
  if n >= (owner and WORDS or WORDS / 2) or #said > 1024 then return nil end
  redis.call('HSET', KEYS[2], '=' .. said, n, n, said)
  return n
end

local f = form()

-- logged returns what stays of a log: the time of the newest call in it, if that is later
-- than last, and the newest entry of a call that failed, or nil, with no time. It returns
-- nil if a release before 0.3 has written in it. See entry.go.
local function logged(log, last)
  local failed
  for _, entry in ipairs(redis.call('LRANGE', log, 0, -1)) do
    local r = f.reading(entry)
    local flags, at, call = r.bytes(1), 1577836800000 + r.bytes(5), nil
    if flags < 128 then return nil end
    if f.bit(flags, 1) then
      call = r.take(r.uvarint())
    else
      call = r.bytes(1) >= 96 and 'notification'
    end
    if call ~= 'notification' then last = math.max(last, at) end
    if f.bit(flags, 0) then failed = failed or string.sub(entry, 1, 1) .. string.rep('\0', 5) .. string.sub(entry, 7) end
  end
  return last, failed
end

local CHUNK, CHUNKS = 64, 4 -- of k
local done = 0
for i, no in ipairs(a.nos) do
  local key, log = KEYS[2 * i + 3], KEYS[2 * i + 4]
  local r, list = {}, redis.call('HGETALL', key)
  for j = 1, #list, 2 do r[list[j]] = list[j + 1] end
  local ended = num(r.ended)
  if not r.state or OPEN[r.state] or r.k or ended == 0 or ended > now - a.after then
    redis.call('ZREM', KEYS[4], no) -- gone, open, compact, or it has a later turn
  elseif leased(r.lease, now, a.sure) > 0 or working(r.state, r.sync) or num(r.collected) + a.gap > now
    or redis.call('ZSCORE', KEYS[3], no) then
    redis.call('ZADD', KEYS[4], now + a.again, no)
  else
    local last, failed = logged(log, num(r.last))
    if last then
      r.last, r.err = last > 0 and f.text(last) or nil, failed or r.err
      local k, stands = f.packed(r, word)
      k = k .. f.behind(r, word, stands)
      -- A record of which k would say anything else stays as it is.
      local same = #k <= CHUNK * CHUNKS
      local said, counted = f.unpacked(k, KEYS[2])
      -- Of these a previous release could begin to notify WeChat Pay; see NOTOLD.
      if r.sync == 'failed' or r.sync == NOTOLD then same = false end
      if r.state == 'withdrawn' and not r.sync then r.sync = NOTOLD end
      for name in pairs(stands) do same = same and (said[name] or '0') == (r[name] or '0') end
      if same then
        local write = {}
        local function put(name, value)
          write[#write + 1] = name
          write[#write + 1] = value
        end
        for name, value in pairs(r) do
          if not stands[name] and not DROPPED[name] and not (name == 'tally' and counted) then put(name, value) end
        end
        for c = 1, math.ceil(#k / CHUNK) do put(c == 1 and 'k' or 'k' .. c, string.sub(k, CHUNK * (c - 1) + 1, CHUNK * c)) end
        -- Deleted first, because a hash that was large once never becomes small again.
        redis.call('DEL', key, log)
        redis.call('HSET', key, unpack(write))
        done = done + 1
      end
    end
    redis.call('ZREM', KEYS[4], no)
  end
end
if a.field ~= '' then redis.call('HSET', KEYS[1], a.field, a.value) end
return { done }
