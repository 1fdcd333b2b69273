-- clock: what the ledger knows of Redis's clock. Put before the scripts that detect
-- jumps, after hold; see scripts.go.
--
-- The hash sweep has
--   at    when the next sweep may run
--   dry   when the next one may run because a worker has run dry
--   queue 1 once the queue has its mark
--   last  the latest time that a sweep or a worker has read
--   jump  the last jump: "<ms> <now>", ms is negative for a jump back
--   mend  what is left to do for the due times after a jump back, or after the queue was
--         lost; see mend

-- wentback compares the clock with the latest time that was read, and returns how many
-- ms it has gone back since, or 0. r has last and jump of the hash. a.expected is the
-- time that the worker expects, by its own clock, which does not jump, from a reading
-- that is a.age ms old; 0 if it has none. A jump back that was recorded since that
-- reading is the one that the worker has detected.
--
-- A jump back is recorded, the holds' times are moved back, and mend then moves the due
-- times that were written before it.
local function wentback(sweep, hold, now, r, a)
  local last, by = num(r[1]), math.max(num(r[1]), a.expected) - now
  if by < JUMP then return 0 end
  local known, at = string.match(r[2] or '', '^(-?%d+) (%d+)$')
  if last - now < JUMP and num(known) < 0 and num(at) <= now and now - num(at) <= a.age + JUMP then return 0 end
  -- If the due times of an earlier jump are not all moved yet, they are moved by both.
  local left = string.match(redis.call('HGET', sweep, 'mend') or '', '^(%d+) ')
  redis.call('HSET', sweep, 'at', 0, 'last', now, 'jump', -by .. ' ' .. now,
    'mend', (by + num(left)) .. ' due ' .. now .. ' 0')
  holdsback(hold, now, by)
  return by
end
