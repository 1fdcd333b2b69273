-- bulkjob: what the scripts of bulk actions share. Put before them; see scripts.go.
--
-- A worker that works on a bulk action has its lease: "<end ms> <length ms> <token>".
-- Without a token the lease is a reservation: a task in the queue brings it to a worker.
-- The lease only keeps workers from doing the same work: each deed is done once by its
-- token, and each order is counted once, whichever worker has the lease.

-- holder returns the token of a live lease, and nil if there is none. One that ends later
-- than its length from now is from before Redis's clock went back.
local function holder(lease, now)
  local ends, length, token = string.match(lease or '', '^(%d+) (%d+) (%d*)$')
  if ends and num(ends) > now and num(ends) - now <= num(length) then return token end
end

local function lease(key, now, length, token)
  redis.call('HSET', key, 'lease', string.format('%.0f %.0f %s', now + length, length, token))
end

-- renew gives the lease its full length again, if the token has it. It reports whether it
-- has.
local function renew(key, now, length, token)
  if holder(redis.call('HGET', key, 'lease'), now) ~= token then return false end
  lease(key, now, length, token)
  return true
end

-- finish ends a bulk action; it is kept for so long.
local function finish(key, now, keep)
  redis.call('HSET', key, 'stage', 'done', 'finished', string.format('%.0f', now))
  redis.call('HDEL', key, 'lease', 'place')
  redis.call('PEXPIRE', key, keep)
end

-- worded returns a number as Redis reads it.
local function worded(n) return string.format('%.0f', n) end
