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

-- JUMP is the smallest difference, in ms, that counts as a jump of Redis's clock: a
-- smaller one may be a slow reply.
local JUMP = 5000

-- reached records the time by which a script writes due times. If Redis's clock goes back
-- before a sweep has read it, the next sweep knows by how much; see wentback in clock.lua.
-- sweep is the key of the hash.
local function reached(sweep, now)
  if now - num(redis.call('HGET', sweep, 'last')) >= JUMP then redis.call('HSET', sweep, 'last', now) end
end

-- stamped puts the time into an entry of a log, after its first byte: five bytes of ms
-- since the beginning of 2020. See entry.go.
local function stamped(entry, now)
  local t, b = now - 1577836800000, {}
  for i = 5, 1, -1 do
    b[i] = t % 256
    t = math.floor(t / 256)
  end
  return string.sub(entry, 1, 1) .. string.char(unpack(b)) .. string.sub(entry, 2)
end

-- whole returns all fields of a record by name. Where a script needs most of them, that
-- costs less than to look for each, since most records lack many.
local function whole(key)
  local list, r = redis.call('HGETALL', key), {}
  for i = 1, #list, 2 do r[list[i]] = list[i + 1] end
  return r
end

local OPEN = { queued = true, awaiting = true }

-- working reports whether there is something left to do for an order: it is open, or it
-- was withdrawn and WeChat Pay has not been notified yet.
local function working(state, sync)
  return OPEN[state] or (state == 'withdrawn' and sync == 'pending')
end

