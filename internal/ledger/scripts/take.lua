-- take: takes orders that a sweep has found, for the caller to enqueue, and makes each
-- due for a sweep again only after grace. An order that another sweep has taken in the
-- meantime is left out.
--
-- KEYS[1] due (zset)   KEYS[2] words (hash)   KEYS[3], … orders (hash)
-- ARGV[1] JSON {
--   nos    out_order_no of each order
--   grace  ms until an order that was taken is due for a sweep again
--   sure   as in claim
-- }
--
-- Returns out_order_no, appid, service_id, round and sync of each order that was
-- taken; sync is 'pending' if WeChat Pay must be notified of a withdrawal.
local a = cjson.decode(ARGV[1])
local now = clock()
local reply = {}
local scores = redis.call('ZMSCORE', KEYS[1], unpack(a.nos))
for i, no in ipairs(a.nos) do
  local key = KEYS[2 + i]
  local r = FIELDS(key, state, appid, svc, round, lease, sync, k)
  if r.k then
    -- A previous release has reopened or withdrawn it.
    filled(key, r, KEYS[2])
    expand(key, KEYS[2])
  end
  local round = num(r.round)
  local rest, ending = 0, nil
  if r.lease then rest, ending = leased(r.lease, now, a.sure) end
  if not scores[i] or num(scores[i]) > now then
    -- Another sweep was faster.
  elseif not working(r.state, r.sync) then
    redis.call('ZREM', KEYS[1], no)
  elseif rest > 0 then
    if ending then redis.call('HSET', key, 'lease', ending) end
    redis.call('ZADD', KEYS[1], now + rest, no)
  else
    if r.lease then
      -- The lease expired without a settle: its worker died, and its task is still
      -- active in asynq, which takes it back after a minute or more. A new round has
      -- a new task.
      round = redis.call('HINCRBY', key, 'round', 1)
      redis.call('HDEL', key, 'lease')
    end
    redis.call('ZADD', KEYS[1], now + a.grace, no)
    reply[#reply + 1] = no
    reply[#reply + 1] = r.appid
    reply[#reply + 1] = r.svc
    reply[#reply + 1] = round
    reply[#reply + 1] = r.sync or ''
  end
end
return reply
