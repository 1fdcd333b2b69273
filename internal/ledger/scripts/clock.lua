-- clock: what the ledger knows of Redis's clock. Put before the scripts that
-- notice jumps, behind hold; see scripts.go.
--
-- The hash sweep has
--   at    when the next sweep may be made
--   last  the latest time that a sweep or a worker has seen
--   jump  the last jump: "<ms> <now>", ms is negative for a jump back
--   mend  the due times that are left to mend after a jump back; see mend

-- wentback compares the clock with the latest time that was seen, and returns by
-- how many ms it has gone back since, 0 for not at all. r has last and jump of the
-- hash. a.expected is the time that the worker expects, by a clock of its own that
-- does not jump, from a reading that is a.age ms old; 0 where it has none. A jump
-- back that was written down since that reading is what the worker has noticed.
--
-- A jump back is written down, the holds' times are moved back, and the due times
-- that were made before it are to be mended.
local function wentback(sweep, hold, now, r, a)
  local last, by = num(r[1]), math.max(num(r[1]), a.expected) - now
  if by < JUMP then return 0 end
  local known, at = string.match(r[2] or '', '^(-?%d+) (%d+)$')
  if last - now < JUMP and num(known) < 0 and num(at) <= now and now - num(at) <= a.age + JUMP then return 0 end
  -- Where the times of an earlier jump are not all mended, they are moved by both.
  local left = string.match(redis.call('HGET', sweep, 'mend') or '', '^(%d+) ')
  redis.call('HSET', sweep, 'at', 0, 'last', now, 'jump', -by .. ' ' .. now,
    'mend', (by + num(left)) .. ' due ' .. now .. ' 0')
  holdsback(hold, now, by)
  return by
end
