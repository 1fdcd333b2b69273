-- clock: what the ledger knows of Redis's clock. Put before the scripts that
-- notice jumps; see scripts.go.
--
-- The hash sweep has
--   at    when the next sweep may be made
--   last  the latest time that a sweep or a worker has seen
--   jump  the last jump: "<ms> <now>", ms is negative for a jump back
--   mend  the due times that are left to mend after a jump back; see mend

-- wentback compares the clock with the latest time that was seen, and returns by
-- how many ms it has gone back since, 0 for not at all. A jump back is written
-- down, and the due times that were made before it are to be mended. One that a
-- worker reports which another has reported within the last minute is the same.
local function wentback(sweep, now, last, seen, jump)
  local latest = math.max(num(last), seen)
  local by = latest - now
  if by < JUMP then return 0 end
  local known, at = string.match(jump or '', '^(-?%d+) (%d+)$')
  if num(last) - now < JUMP and num(known) < 0 and now - num(at) < 60000 and now - num(at) >= 0 then return 0 end
  -- Where the times of an earlier jump are not all mended, they are moved by both.
  local left = string.match(redis.call('HGET', sweep, 'mend') or '', '^(%d+) ')
  redis.call('HSET', sweep, 'at', 0, 'last', now, 'jump', -by .. ' ' .. now,
    'mend', (by + num(left)) .. ' due ' .. now .. ' 0')
  return by
end
