-- common: put before every script of this package; see scripts.go.
--
-- All times are Unix milliseconds of Redis's own clock, unless a name says us
-- (microseconds). Scripts take their arguments as one JSON object, so that
-- each has a name.

local function clock()
  local t = redis.call('TIME')
  local us = t[1] * 1000000 + t[2]
  return math.floor(us / 1000), us
end

local function num(s) return tonumber(s) or 0 end

local OPEN = { queued = true, awaiting = true }

-- earliest returns the first moment from t on at which a collect call of an
-- order may be made: no sooner than gap after the last one, and inside one of
-- the windows {from, to, from, to, ...}. Without windows any time will do.
-- Past the last window it returns t: who comes then is judged again, by the
-- windows of that day.
local function earliest(t, last, gap, windows)
  if last > 0 then t = math.max(t, last + gap) end
  for i = 1, #windows, 2 do
    if t < windows[i] then return windows[i] end
    if t < windows[i + 1] then return t end
  end
  return t
end

-- RECOVERY_US is how long a merchant whose calls were throttled (429) takes
-- to come back to its full rate.
local RECOVERY_US = 60 * 1000000

-- FLOOR is the least part of its rate that throttling leaves a merchant.
local FLOOR = 0.02

-- TICKET_US is how long somebody who finds no slot is sent away at the most.
local TICKET_US = 30 * 1000000

-- share returns the part of its rate, in (0, 1], that a merchant has now.
local function share(slow, slowat_us, now_us)
  if not slow then return 1 end
  -- Never below the floor: a clock that was put back would make it negative.
  return math.max(FLOOR, math.min(1, tonumber(slow) + (now_us - num(slowat_us)) / RECOVERY_US))
end

-- slot returns how long, in us, to wait for the merchant's next free slot, and
-- the two fields that take it. Slots are evenly spaced (the generic cell rate
-- algorithm without a burst): in no second are there more than the rate. Where
-- the next free slot is more than horizon_us away it is not taken: then the
-- wait is nil, and the third value says, in us, when to ask again. Those waits
-- are spaced too, so that many who wait do not all come back at once.
local function slot(gate, now_us, interval_us, horizon_us)
  local g = redis.call('HMGET', gate, 'tat', 'ticket', 'slow', 'slowat')
  local step = math.ceil(interval_us / share(g[3], g[4], now_us))
  local tat = math.max(now_us, num(g[1]))
  local wait = tat - now_us
  if wait <= horizon_us then
    return wait, { 'tat', tat + step }, 0
  end
  local ticket = math.min(math.max(num(g[2]), now_us, tat - horizon_us) + step, now_us + TICKET_US)
  return nil, { 'ticket', ticket }, ticket - now_us
end
