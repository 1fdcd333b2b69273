-- holds: what slows or stops a merchant's calls now.
--
-- KEYS[1] hold (hash)   KEYS[2] gate (hash)   KEYS[3] sweep (hash)
--
-- Returns {now; the part of the merchant's rate that throttling has left, in millionths;
-- the last jump of Redis's clock as in clock.lua, or ''; since when the merchant is paused
-- and until when, as in pauseof (-1 if it is not paused), and JSON [by, reason, token], or
-- ''; then for each hold its scope,
-- kind, since and the time of its next probe}.
local now, now_us = clock()
local g = redis.call('HMGET', KEYS[2], 'slow', 'slowat')
local reply = { now, share(g[1], g[2], now_us) * 1000000, redis.call('HGET', KEYS[3], 'jump') or '' }
local p = redis.call('HMGET', KEYS[1], 'pause', 'pausewhy')
local since, ends = pauseof(p[1], now)
reply[4], reply[5], reply[6] = since or -1, ends or 0, since and p[2] or ''
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local h = held(fields[i + 1], now, LONGEST_LEASE)
  if h then
    reply[#reply + 1] = fields[i]
    reply[#reply + 1] = h.kind
    reply[#reply + 1] = h.since
    reply[#reply + 1] = h.probe
  end
end
return reply
