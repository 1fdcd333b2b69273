-- pace: when a merchant's next call may be made. Put before the scripts that grant
-- calls; see scripts.go.

-- LONGEST_LEASE is the longest possible lease, in ms: the most that CALL_TIMEOUT may be,
-- the wait for a slot and the time to settle. A lease that ends later was written before
-- Redis's clock went back.
local LONGEST_LEASE = 130 * 1000

-- leased returns how many ms of an order's lease are left, 0 if it has expired. sure is
-- the earliest time that Redis's clock can show without a jump ahead, by the caller's own
-- clock: a jump ahead ends no lease, since its call is still under way. The second value
-- is a new end for a lease from before Redis's clock went back, when its call will
-- certainly have ended.
local function leased(lease, now, sure)
  lease, sure = num(lease), math.min(now, sure)
  if lease > sure + LONGEST_LEASE then sure = now end -- taken after the jump
  if lease > now + LONGEST_LEASE then return LONGEST_LEASE, now + LONGEST_LEASE end
  return math.max(0, lease - sure), nil
end

-- recollected moves the time of an order's last collect call back. An order is given up
-- only if that time is not before since, from which its age counts: that relation stays.
-- since is billing's wish if the order was not opened then.
local function recollected(order, collected, to)
  redis.call('HSET', order, 'collected', to)
  local r = FIELDS(order, since, opened)
  if r.since == r.opened and num(r.since) <= num(collected) and num(r.since) > to then
    redis.call('HSET', order, 'since', to, 'opened', to)
  end
end

-- collectedat returns when the last collect call of an order was finished at the latest,
-- by its record; 0 for none. A time that no lease can reach was written before Redis's
-- clock went back: the gap is then counted from now.
local function collectedat(order, collected, now)
  collected = num(collected)
  if collected > now + LONGEST_LEASE then
    recollected(order, collected, now)
    collected = now
  end
  return collected
end

-- earliest returns the first moment from t on at which an order may be collected: at
-- least gap after the last collect call, and inside one of the windows {from, to, from,
-- to, ...}. Without windows every time is allowed. After the last window it returns t: a
-- claim at that time uses the windows of that day.
local function earliest(t, last, gap, windows)
  if last > 0 then t = math.max(t, last + gap) end
  for i = 1, #windows, 2 do
    if t < windows[i] then return windows[i] end
    if t < windows[i + 1] then return t end
  end
  return t
end

-- RECOVERY_US is how long a merchant whose calls were throttled (429) takes to recover
-- its full rate.
local RECOVERY_US = 60 * 1000000

-- FLOOR is the smallest part of its rate that throttling leaves a merchant.
local FLOOR = 0.02

-- TICKET_US is the longest time after which a claim without a slot is retried.
local TICKET_US = 30 * 1000000

-- HORIZON_US is the longest time that a call waits for its slot under a lease.
local HORIZON_US = 5 * 1000000

-- share returns the part of its rate, in (0, 1], that a merchant has now.
local function share(slow, slowat_us, now_us)
  if not slow then return 1 end
  return math.max(FLOOR, math.min(1, tonumber(slow) + math.max(0, now_us - num(slowat_us)) / RECOVERY_US))
end

-- slot returns how long, in us, to wait for the merchant's next free slot, and the
-- fields that reserve it. g has tat, ticket, slow and slowat of the gate. Slots are evenly
-- spaced (the generic cell rate algorithm without a burst): no second has more than the
-- rate. If the next free slot is more than horizon_us away, it is not reserved: the wait
-- is nil, and the third value says, in us, when to ask again. Those times are spaced too,
-- so that many waiting orders do not return at once. Times further ahead than any that is
-- ever given were written before Redis's clock went back, or before the rate was raised,
-- and count as now.
local function slot(g, now_us, interval_us, horizon_us)
  local tat, ticket, slow, slowat = num(g[1]), num(g[2]), g[3], num(g[4])
  local take = {}
  if slow and slowat > now_us then
    slowat, take[3], take[4] = now_us, 'slowat', now_us
  end
  local step = math.ceil(interval_us / share(slow, slowat, now_us))
  if tat > now_us + HORIZON_US + interval_us / FLOOR then tat = now_us end
  tat = math.max(now_us, tat)
  local wait = tat - now_us
  if wait <= horizon_us then
    take[1], take[2] = 'tat', tat + step
    return wait, take, 0
  end
  if ticket > now_us + TICKET_US + step then ticket = now_us end
  local again = math.min(math.max(ticket, now_us, tat - horizon_us), now_us + TICKET_US)
  take[1], take[2] = 'ticket', again + step
  return nil, take, again - now_us
end
