-- claim: grants the lease of an order to one worker, if the order can be worked on now
-- and no hold stops the call. A claim that is repeated with the same token, because
-- its answer was lost, returns the same grant.
--
-- KEYS[1] order (hash)   KEYS[2] due (zset)   KEYS[3] gate (hash)
-- KEYS[4] hold (hash)   KEYS[5] paused (zset)   KEYS[6] sweep (hash)
-- ARGV[1] JSON {
--   no       out_order_no
--   token    unique to this claim: it fences every later write of this worker
--   round    the task's round, or -1 if the task does not name one
--   lease    ms from the moment of the call to the end of the lease
--   sure     the earliest, in ms, that Redis's clock can be without a jump ahead
--   interval us between two calls of the merchant
--   horizon  us that a claim may wait for its slot under the lease
--   gap      ms between two collect calls of the order
--   windows  collection windows, ms, {from, to, ...}; absent for always
--   terms    what gap and windows were chosen by: the order's schedule and service, and,
--            if amounts is true, its amount, with blanks between; absent if they hold
--            for every order
--   most     longest time between two probes, ms
-- }
--
-- Returns {code, now, wait us, ...}:
--   'granted'   plan, probe, {STEP}: the lease is taken; call after wait, which is
--               negative if the claim is repeated and its slot has gone by
--   'absent'    no such order
--   'ended'     it is in a final state, which follows
--   'leased'    another worker has it, for wait at most
--   'early'     not due before wait
--   'stale'     a task of an earlier round, or of a record that the sweep must make whole
--   'postponed' no collect call is allowed before wait; the due time says so
--   'paused'    the merchant's collect calls are paused; the order is put off
--   'held'      the merchant is held; the next probe is in wait
--   'parked'    the order's service is held; the due time is the order's own slot
--   'paced'     too many wait for a slot; ask again in wait
--   'unlike'    gap and windows were chosen by other terms than the order's, which
--               follow, with {STEP}; nothing was changed
local a = cjson.decode(ARGV[1])
local now, now_us = clock()
local r = whole(KEYS[1])

local function granted(wait, plan, probe) return { 'granted', now, wait, plan, probe, { STEP(r) } } end

if not r.state then return { 'absent', now, 0 } end
if not working(r.state, r.sync) then return { 'ended', now, 0, r.state } end
if r.lease then
  local rest, ending = leased(r.lease, now, a.sure)
  if rest > 0 then
    if r.token == a.token then
      -- If the clock has gone back, the slot seems further away than any slot is. One
      -- that has gone by is not now: the wait says so, and is negative.
      return granted(math.min(a.horizon, (num(r.lease) - a.lease - now) * 1000), r.doing, 0)
    end
    if ending then
      redis.call('HSET', KEYS[1], 'lease', ending)
      redis.call('ZADD', KEYS[2], ending, a.no)
    end
    return { 'leased', now, rest * 1000 }
  end
end
if a.round >= 0 and a.round ~= num(r.round) then return { 'stale', now, 0 } end
-- A previous release has reopened a compact order, and the step would not see what k says:
-- its schedule, its amounts. The sweep makes it whole and enqueues it again; see take.
if r.k then return { 'stale', now, 0 } end
if num(r.due) > now then return { 'early', now, (num(r.due) - now) * 1000 } end

-- r says from here on what the claim returns and writes. Times are texts in it.
local function text(t) return string.format('%.0f', t) end
-- The policy counts from the last collect call, whatever the plan is.
local had = num(r.collected)
if collectedat(KEYS[1], had, now) ~= had then r.collected = text(now) end

local plan = r.next
-- Only a collect call must keep to gap and windows.
if plan == 'collect' and a.terms then
  local terms = (r.schedule or '') .. ' ' .. (r.svc or '')
  if a.amounts then terms = terms .. ' ' .. (r.bill or r.total or '') end
  if terms ~= a.terms then return { 'unlike', now, 0, terms, { STEP(r) } } end
end
local function putoff(code, t)
  reached(KEYS[6], now)
  if code == 'paused' then
    redis.call('HSET', KEYS[1], 'due', t, 'off', 2) -- 2: unpause brings it back
    redis.call('ZADD', KEYS[5], now, a.no)
  elseif plan == 'collect' and num(r.fails) == 0 and not r.off then
    redis.call('HSET', KEYS[1], 'due', t)
  else
    -- off distinguishes a postponed due time from one that a step has set; see mend.
    -- An order that was never called has no log and needs no mark.
    redis.call('HSET', KEYS[1], 'due', t, 'off', 1)
  end
  redis.call('ZADD', KEYS[2], t, a.no)
  return { code, now, (t - now) * 1000 }
end

local scope = service(r.appid, r.svc)
local held_by = redis.call('HMGET', KEYS[4], MERCHANT, scope, 'pause')
if held_by[3] and plan == 'collect' then
  local t = paused(KEYS[4], held_by[3], now)
  if t then return putoff('paused', t) end
end
local probe, m, v = 0, nil, nil
if held_by[1] or held_by[2] then
  local longest = math.max(a.most, a.lease + math.ceil(a.horizon / 1000))
  m, v = held(held_by[1], now, longest), held(held_by[2], now, longest)
  local opens = opensat(m, v, num(r.fails))
  if opens > now then
    if not v then return { 'held', now, (opens - now) * 1000 } end
    -- If only the merchant's probe is under way, its reply may come any moment.
    if v.probe <= now then opens = math.min(opens, now + AWHILE) end
    local at = park(v, KEYS[2], opens, math.ceil(a.interval / 1000))
    redis.call('HSET', KEYS[4], scope, heldtext(v))
    return putoff('parked', at)
  end
  probe = 1
end

local wait, take, again = slot(redis.call('HMGET', KEYS[3], 'tat', 'ticket', 'slow', 'slowat'), now_us, a.interval, a.horizon)
if wait and plan == 'collect' then
  local at = now + math.ceil(wait / 1000)
  local ok = earliest(at, collectedat(KEYS[1], r.collected, now), a.gap, a.windows or {})
  if ok > at then return putoff('postponed', ok) end
end
redis.call('HSET', KEYS[3], unpack(take))
if not wait then return { 'paced', now, again } end

-- One write for each key, because every command of a script is a command of the
-- append-only file. The next probe is due when this lease expires, since a probe that
-- dies with its worker proves nothing; settle knows more.
local lease = text(now + math.ceil(wait / 1000) + a.lease)
if m then m.probe = lease end
if v then v.probe = lease end
if m and v then
  redis.call('HSET', KEYS[4], MERCHANT, heldtext(m), scope, heldtext(v))
elseif m or v then
  redis.call('HSET', KEYS[4], m and MERCHANT or scope, heldtext(m or v))
end

local write = { 'token', a.token, 'lease', lease, 'doing', plan }
local counter = 'queries'
if plan == 'collect' then
  -- Written before the call: if the worker dies in it, the order's last collect has
  -- an unknown effect and may have happened at any time up to the lease's end, so the
  -- order is queried first. Settle knows more.
  counter, write[7], write[8], write[9], write[10] = 'collects', 'next', 'resolve', 'collected', lease
elseif plan == 'sync' then
  counter, write[7], write[8] = 'syncs', 'next', 'resolve'
end
if num(r.since) > now then
  -- A due order was opened, reopened or withdrawn in the past, so a later time comes
  -- from a clock that was ahead, and would give the order up too late. Its age counts
  -- from now. A time that billing has asked for stays.
  local was = FIELDS(KEYS[1], since, opened, past) -- again: recollected may have moved them
  local past = was.past and cjson.decode(was.past) or {}
  local last = past[#past]
  local function put(field, value)
    write[#write + 1] = field
    write[#write + 1] = value
  end
  local ours = r.sync == 'pending'
  if was.since == was.opened then
    ours = true
    put('opened', now)
  elseif last and num(last.reopened) == num(was.since) then
    ours, last.reopened = true, now
    put('past', cjson.encode(past))
  end
  if ours then
    r.since = text(now)
    put('since', now)
  end
end
redis.call('HSET', KEYS[1], counter, num(r[counter]) + 1, unpack(write))
redis.call('ZADD', KEYS[2], lease, a.no)
return granted(wait, plan, probe)
