-- hold: what stops a merchant's calls. Put before the scripts that grant calls and
-- judge their replies; see scripts.go.
--
-- A hold stops the calls of its scope, except for a probe now and then. The scope is
-- the whole merchant, or one service: an appid with a service_id. Both are fields of
-- one hash and follow the same rules. A hold is written as
-- "kind since probe backoff slot":
--   kind     'fault', 'down' or 'throttled' of a merchant, 'service' of a service
--   since    when it began: only a reply to a call that began later ends it
--   probe    when the next probe may be made
--   backoff  ms between the last probe and the next
--   slot     the last slot that a parked order was given; 0 for none

-- SHY is how long, in ms, an order whose last call failed leaves the probe of a silent
-- platform to other orders: the fault may be its own.
local SHY = 500

-- AWHILE is how long, in ms, an order of a held service that could be a probe waits for
-- its merchant's probe that is under way.
local AWHILE = 5000

local MERCHANT = 'merchant'
local function service(appid, svc) return 'service:' .. appid .. ':' .. svc end

-- held reads a hold, and returns nil for an empty text. A time that is further ahead than
-- longest, in ms, was written before Redis's clock went back, and counts as now.
local function held(text, now, longest)
  local kind, since, probe, backoff, slot = string.match(text or '', '^(%a+) (%d+) (%d+) (%d+) (%d+)$')
  if not kind then return nil end
  local h = { kind = kind, since = num(since), probe = num(probe), backoff = num(backoff), slot = num(slot) }
  if h.since > now then h.since = now - 1 end
  if h.probe > now + longest then h.probe = now - SHY end
  return h
end

local function heldtext(h) return table.concat({ h.kind, h.since, h.probe, h.backoff, h.slot }, ' ') end

-- holdsback moves the holds' times back by as many ms as Redis's clock has gone back.
local function holdsback(hold, now, by)
  local fields = redis.call('HGETALL', hold)
  for i = 1, #fields, 2 do
    local h = held(fields[i + 1], now, math.huge)
    if h then
      h.since, h.probe, h.slot = math.min(h.since, now - 1), math.max(0, h.probe - by), math.max(0, h.slot - by)
      redis.call('HSET', hold, fields[i], heldtext(h))
    end
  end
end

-- A pause stops the collect calls of the merchant, and nothing else, until a person
-- resumes them or its time is up. It stands in the same hash:
--   pause     "since length": ms, the length is 0 if only a person ends it
--   pausewhy  JSON [by, reason, token] of the deed

-- PAUSE_LOOK is the longest time, in ms, for which the order of a paused merchant is put
-- off, in case that it is not brought back at the pause's end; see unpause.
local PAUSE_LOOK = 3600 * 1000

-- pauseof reads a pause, and returns since when it has lasted, and its end: nil if there
-- is none or it has ended, 0 if only a person ends it. A pause that begins in the future
-- was written before Redis's clock went back, and counts from now; the third value is
-- then true.
local function pauseof(text, now)
  local since, length = string.match(text or '', '^(%d+) (%d+)$')
  if not since then return nil end
  since, length = num(since), num(length)
  local ahead = since > now
  if ahead then since = now end
  if length == 0 then return since, 0, ahead end
  if since + length <= now then return nil end
  return since, since + length, ahead, length
end

-- paused returns until when the orders of a paused merchant are put off, or nil if it is
-- not paused. text is the field pause of hold.
local function paused(hold, text, now)
  local since, ends, ahead, length = pauseof(text, now)
  if not since then return nil end
  if ahead then redis.call('HSET', hold, 'pause', string.format('%.0f %.0f', now, length or 0)) end
  if ends == 0 then return now + PAUSE_LOOK end
  return math.min(ends, now + PAUSE_LOOK)
end

-- opensat returns when an order with these holds may be called: m of its merchant and s
-- of its service. The call is then a probe for both.
local function opensat(m, s, fails)
  local at = s and s.probe or 0
  if not m then return at end
  if m.kind ~= 'fault' and fails > 0 then return math.max(at, m.probe + SHY) end
  return math.max(at, m.probe)
end

-- park gives an order of a held service its own slot after the next probe, at opens.
-- These orders share a queue with healthy ones and do not wait in it. The slots are as
-- far apart as calls are, and no further ahead than the number of orders requires.
local function park(s, due, opens, interval)
  local count = s.slot > opens and redis.call('ZCOUNT', due, opens, s.slot) or 0
  s.slot = math.min(math.max(opens, s.slot), opens + count * interval) + interval
  return s.slot
end

-- judge applies the reply to a step's last call, as in settle's arguments s, to the
-- holds of the merchant and of the service scope. hold and gate are the keys. It returns
-- 'closed' if a hold began, 'opened' if one ended, 'slowed' if the merchant's rate was
-- lowered, else ''.
--
-- What a signal means for
--                        the merchant   the service
--   'ok'                 works          works
--   'service'            works          refused: the call was authenticated and answered
--   'fault'              refused        nothing
--   'down', 'throttled'  troubled       nothing
--   ''                   nothing        nothing: no call was made
local function judge(hold, gate, scope, s, now, now_us)
  local r = redis.call('HMGET', hold, MERCHANT, scope, 'row')
  local m, v = held(r[1], now, math.huge), held(r[2], now, math.huge)
  if not m and not v and not r[3] and s.gate == 'ok' then return '' end
  local called = math.min(s.called_at, now)
  local change = ''

  -- begun and ended record the beginning and the end of a hold.
  local function begun(field, kind)
    redis.call('HSET', hold, field, heldtext({ kind = kind, since = now, probe = now + s.first, backoff = s.first, slot = 0 }))
    change = 'closed'
  end
  local function ended(field)
    redis.call('HDEL', hold, field)
    if change == '' then change = 'opened' end
  end
  -- after is whether the reply's call began after the hold.
  local function after(h) return called > h.since end
  -- probed records when the next probe may run, if the reply is a probe's that did not
  -- end the hold: after twice the time, counted from its call. A probe that says
  -- nothing about the hold is followed by another at once.
  local function probed(field, h, refused)
    if not s.probe or (s.called_at > 0 and not after(h)) then return end
    h.probe = now
    if refused then
      h.backoff = math.min(s.most, h.backoff * 2)
      h.probe = math.max(now, called + h.backoff)
    end
    redis.call('HSET', hold, field, heldtext(h))
  end

  -- Consecutive calls without a proper answer; those of one order count once, since the
  -- fault may be its own.
  local many = true
  if s.gate == 'down' or s.gate == 'throttled' then
    local n, no = string.match(r[3] or '', '^(%d+) (.*)$')
    n = num(n)
    if no ~= s.no then
      n = n + 1
      redis.call('HSET', hold, 'row', n .. ' ' .. s.no)
    end
    many = n >= s.limit
  elseif s.gate ~= '' and r[3] then
    redis.call('HDEL', hold, 'row')
  end

  if s.gate == 'throttled' then
    local g = redis.call('HMGET', gate, 'slow', 'slowat', 'slowedat')
    local slowed = num(g[3])
    local closes = many and not m
    -- Many calls in flight meet one throttling: halve at most once a second.
    -- If it met them all, halving was not enough.
    if closes or slowed > now or slowed + 1000 <= now then
      redis.call('HSET', gate, 'slow', math.max(FLOOR, share(g[1], g[2], now_us) / (closes and 8 or 2)),
        'slowat', now_us, 'slowedat', now)
      change = 'slowed'
    end
  end

  local works = s.gate == 'ok' or s.gate == 'service'
  if s.gate == 'fault' and m and m.kind ~= 'fault' and after(m) then
    -- Refused, but answered: another cause has replaced the first.
    begun(MERCHANT, 'fault')
  elseif works and m and after(m) then
    ended(MERCHANT)
    -- The rate that throttling has left was not tried yet: it recovers from now on. If
    -- it had recovered during the hold, the first second would be too fast again.
    if m.kind == 'throttled' then redis.call('HSET', gate, 'slowat', now_us) end
  elseif m then
    probed(MERCHANT, m, s.gate ~= '')
  elseif not works and s.gate ~= '' and many then
    begun(MERCHANT, s.gate)
  end

  if s.gate == 'service' and not v then
    begun(scope, 'service')
  elseif s.gate == 'ok' and v and after(v) then
    ended(scope)
  elseif v then
    probed(scope, v, s.gate == 'service')
  end
  return change
end
