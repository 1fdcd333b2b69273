-- claim: takes the lease of an order for one worker, if there is work to do on
-- it now and the merchant's gate lets a call through. Repeating a claim whose
-- answer was lost, with the same token, returns the same grant.
--
-- KEYS[1] order (hash)   KEYS[2] due (zset)   KEYS[3] gate (hash)
-- ARGV[1] JSON {
--   no       out_order_no
--   token    unique to this claim: it fences every later write of this worker
--   round    the task's round, or -1 for a task that does not say
--   lease    ms from the moment of the call to the end of the lease
--   interval us between two calls of the merchant
--   horizon  us that a claim may wait for its slot under the lease
--   gap      ms between two collect calls of the order
--   windows  collection windows, ms, {from, to, ...}; {} for always
--   first    ms from a closing gate to its first probe
-- }
--
-- Returns {code, now, wait us, ...}:
--   'granted'   plan, probe, then the fields of the record as in FIELDS: the
--               lease is taken; call after wait
--   'absent'    no such order
--   'ended'     it ended; the state follows
--   'leased'    somebody works on it, for wait at the most
--   'early'     not due before wait
--   'stale'     a task of an earlier round
--   'postponed' no collect call is allowed before wait; the due time says so
--   'closed'    the merchant's gate is closed; the next probe is in wait
--   'parked'    the gate of this appid and service_id is closed; put off
--   'paced'     too many wait for a slot; ask again in wait
local a = cjson.decode(ARGV[1])
local FIELDS = { 'state', 'round', 'appid', 'svc', 'next', 'due', 'token', 'lease', 'doing',
  'collected', 'attempts', 'declines', 'confirms', 'fails', 'missing', 'since', 'total', 'oid',
  'life', 'sync', 'paidat' }
-- The counters of calls stand behind the fields of the reply.
local COUNTS = { 'collects', 'queries', 'syncs' }

local SHY = 500 -- ms
local now, now_us = clock()
local r = {}
local values = redis.call('HMGET', KEYS[1], COUNTS[1], COUNTS[2], COUNTS[3], unpack(FIELDS))
for i = 1, #FIELDS do r[FIELDS[i]] = values[i + 3] end

local function granted(wait, plan, probe)
  local reply = { 'granted', now, wait, plan, probe }
  for i = 1, #FIELDS do reply[i + 5] = values[i + 3] or '' end
  return reply
end

if not r.state then return { 'absent', now, 0 } end
if not working(r.state, r.sync) then return { 'ended', now, 0, r.state } end
if num(r.lease) > now then
  if r.token == a.token then
    return granted(math.max(0, num(r.lease) - a.lease - now) * 1000, r.doing, 0)
  end
  return { 'leased', now, (num(r.lease) - now) * 1000 }
end
if a.round >= 0 and a.round ~= num(r.round) then return { 'stale', now, 0 } end
if num(r.due) > now then return { 'early', now, (num(r.due) - now) * 1000 } end

local plan = r.next
local function putoff(code, t)
  redis.call('HSET', KEYS[1], 'due', t)
  redis.call('ZADD', KEYS[2], t, a.no)
  return { code, now, (t - now) * 1000 }
end

local pair = 'p:' .. r.appid .. ':' .. r.svc
local g = redis.call('HMGET', KEYS[3], 'kind', 'probeat', pair, 'tat', 'ticket', 'slow', 'slowat')
local probe, parked, gate_writes = 0, nil, {}
-- The gate of one appid and service_id. Its orders share a queue with good
-- ones, so they do not wait in it: each is put off to a slot of its own behind
-- the next probe, which is as fast as they could be worked on anyway. They are
-- no probes for the whole merchant: of that their refusal would say nothing.
if g[3] then
  -- n is the last slot that was given out.
  local at, backoff, n, closed = string.match(g[3], '^(%d+) (%d+) (%d+) (%d+)$')
  local open_at = num(at)
  if g[1] then open_at = math.max(open_at, num(g[2]) + a.first) end
  if g[1] or open_at > now then
    n = math.max(now, open_at, num(n)) + math.ceil(a.interval / 1000)
    redis.call('HSET', KEYS[3], pair, table.concat({ at, backoff, n, closed }, ' '))
    return putoff('parked', n)
  end
  probe = 1
  parked = { 0, backoff, n, closed }
end

-- The gate of the merchant: a closed one lets a single probe through now and
-- then. Settle knows when the next one may go; until then it is when this one's
-- lease is over, for a probe that dies with its worker says nothing. Where the
-- platform did not answer, an order whose last call failed leaves the probe to
-- others for a moment: the fault may be its own. A merchant's fault is nobody's
-- own.
if g[1] then
  local open_at = num(g[2])
  if g[1] ~= 'fault' and num(r.fails) > 0 then open_at = open_at + SHY end
  if open_at > now then return { 'closed', now, (open_at - now) * 1000 } end
  probe = 1
end

local wait, taken, again = slot(g[4], g[5], g[6], g[7], now_us, a.interval, a.horizon)
if wait and plan == 'collect' then
  local at = now + math.ceil(wait / 1000)
  local ok = earliest(at, num(r.collected), a.gap, a.windows)
  if ok > at then return putoff('postponed', ok) end
end
if not wait then
  redis.call('HSET', KEYS[3], unpack(taken))
  return { 'paced', now, again }
end

-- One write for each key: every command of a script goes into the append-only
-- file by itself.
local lease = now + math.ceil(wait / 1000) + a.lease
if g[1] then
  gate_writes = { 'probeat', lease }
elseif parked then
  parked[1] = lease
  gate_writes = { pair, table.concat(parked, ' ') }
end
redis.call('HSET', KEYS[3], taken[1], taken[2], unpack(gate_writes))

local write = { 'token', a.token, 'lease', lease, 'doing', plan }
local count = 2
if plan == 'collect' then
  -- Written before the call: a worker that dies in it leaves an order whose
  -- last collect is of unknown effect and may have happened at any time up to
  -- the lease's end; it is looked at first. Settle knows better.
  count, write[7], write[8], write[9], write[10] = 1, 'next', 'resolve', 'collected', lease
elseif plan == 'sync' then
  count, write[7], write[8] = 3, 'next', 'resolve'
end
redis.call('HSET', KEYS[1], COUNTS[count], num(values[count]) + 1, unpack(write))
redis.call('ZADD', KEYS[2], lease, a.no)
return granted(wait, plan, probe)
