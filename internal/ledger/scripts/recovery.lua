-- recovery: the counters of what came in of finished orders, by the day in Shanghai on which
-- billing enqueued them first. Put before the scripts that end, reopen or count orders.
--
-- A finished order has in its field tally what was counted of it:
--
--   <day><state><attempts>,<fen owed>,<cause>;<lag><whose><hour>=<fen>;…
--
-- day is that of opened, in days since 1970; state its first letter; cause the code of the
-- first collect that was declined, '' for none, or _ for an unknown one. What follows is of
-- each payment, the last one first: the first of LAGS by which it came, or 0; whose doing it
-- was (C after our collect, U by the user or the platform, E elsewhere, X not known); the
-- hour in Shanghai; and =<fen>, but for a payment of all that is owed.
--
-- The counters are one hash. A field is "<day> <kind><value>", and has how many finished
-- orders, what they owed, how many of them are paid, and what came in. The kinds are s (the
-- state's letter), a (attempts, MOSTATTEMPTS at most) and c (cause), of all finished
-- orders; and l (lag), w (whose) and h (hour), of payments: their orders and what they owed
-- are 0, and a paid order counts with its last payment.
--
-- A reopening takes back what was counted, so that each order counts once, as it stands.
local LAGS = { 1, 3, 7, 14, 30 }
local KEPT, MOSTATTEMPTS = 400, 10

-- inday returns the day in Shanghai of a time in ms.
local function inday(ms) return math.floor((ms + 28800000) / 86400000) end

-- causeof returns the cause that a field of the record, a call or a tally names.
local function causeof(code)
  return string.sub(string.gsub(code, '[^%w_]', '_'), 1, 40)
end

-- unrecorded reports whether a release that recorded no cause has had an order declined:
-- which decline was the first one is then unknown. The log's entries before from are not
-- looked at. See entry.go.
local function unrecorded(r, log, from)
  if r.cause or num(r.attempts) == 0 then return false end
  for _, entry in ipairs(redis.call('LRANGE', log, from, -1)) do
    local flags = string.byte(entry) or 0
    if flags < 128 then -- of a release before 0.3
      if string.find(entry, '"call":"collect","verdict":"declined"', 1, true) then return true end
    elseif math.floor(flags / 2) % 2 == 0 and string.byte(entry, 7) == 2 then
      return true -- collect and declined
    end
  end
  return false
end

-- incoming returns the payments of a finished order, the last one first, each as {at in
-- seconds, fen, whether it came in elsewhere}.
local function incoming(r)
  local ended, list, sum = math.floor(num(r.ended) / 1000), {}, 0
  for seq, fen, kind, at, tx in string.gmatch(r.pays or '', '(%d+)|(%d+)|([^|;]*)|(%d*)|([^|;]*)') do
    sum = sum + num(fen)
    list[#list + 1] = { at ~= '' and num(at) or ended, num(fen), kind == 'MCH' or kind == '' and tx == '', num(seq) }
  end
  -- A release before 0.2 recorded a sum, without a list.
  if num(r.paid) > sum then list[#list + 1] = { ended, num(r.paid) - sum, r.pt == 'MCH' and (r.tx or '') == '', 0 } end
  if #list > 1 then
    table.sort(list, function(a, b)
      if a[1] ~= b[1] then return a[1] > b[1] end
      return a[4] > b[4]
    end)
  end
  return list
end

-- since returns from when the days of a finished order count.
local function since(r) return num(r.opened) > 0 and num(r.opened) or num(r.ended) end

-- tallytext returns the tally of a finished order as it stands.
local function tallytext(r)
  local opened = since(r)
  local owed = num(r.total or r.bill)
  local out = { string.format('%d%s%d,%d,%s', inday(opened), string.sub(r.state, 1, 1), num(r.attempts), owed, r.cause or '') }
  for _, p in ipairs(incoming(r)) do
    local lag, whose = 0, p[3] and 'E' or r.pby == 'collect' and 'C' or r.pby == 'user' and 'U' or 'X'
    for i = #LAGS, 1, -1 do
      if p[1] * 1000 - opened <= LAGS[i] * 86400000 then lag = LAGS[i] end
    end
    local hour = math.floor(p[1] / 3600 + 8) % 24
    out[#out + 1] = p[2] == owed and lag .. whose .. hour or string.format('%d%s%d=%d', lag, whose, hour, p[2])
  end
  return table.concat(out, ';')
end

-- tallyof is tallytext, or nil for an order that was enqueued so long ago that it is not
-- counted.
local function tallyof(r, now)
  if inday(since(r)) > inday(now) - KEPT then return tallytext(r) end
end

-- tallied takes the tally old out of the counters and puts new in; either may be nil. An
-- end takes two commands.
local function tallied(key, old, new)
  if old == new then return end
  local cells, names = {}, {}
  local function count(name, orders, owed, paid, fen)
    local c = cells[name]
    if c then
      c[1], c[2], c[3], c[4] = c[1] + orders, c[2] + owed, c[3] + paid, c[4] + fen
    else
      cells[name], names[#names + 1] = { orders, owed, paid, fen }, name
    end
  end
  local function each(tally, sign)
    local day, state, attempts, owed, cause = string.match(tally or '', '^(%d+)(%l)(%d+),(%d+),([^;]*)')
    if not day then return end
    local paid, sum = state == 'p' and sign or 0, 0
    local last = paid
    for lag, whose, hour, given in string.gmatch(tally, ';(%d+)(%u)(%d+)=?(%d*)') do
      local fen = sign * (given ~= '' and given or owed)
      sum = sum + fen
      count(day .. ' l' .. lag, 0, 0, last, fen)
      count(day .. ' w' .. whose, 0, 0, last, fen)
      count(day .. ' h' .. hour, 0, 0, last, fen)
      last = 0
    end
    if num(attempts) > MOSTATTEMPTS then attempts = MOSTATTEMPTS end
    owed = sign * owed
    count(day .. ' s' .. state, sign, owed, paid, sum)
    count(day .. ' a' .. attempts, sign, owed, paid, sum)
    count(day .. ' c' .. cause, sign, owed, paid, sum)
  end
  each(old, -1)
  each(new, 1)
  if #names == 0 then return end
  local had, write, erase = redis.call('HMGET', key, unpack(names)), {}, {}
  for i, name in ipairs(names) do
    local c = cells[name]
    local orders, owed, paid, fen = c[1], c[2], c[3], c[4]
    if had[i] then
      local n, o, p, f = string.match(had[i], '^(%d+) (%d+) (%d+) (%d+)$')
      orders, owed, paid, fen = orders + num(n), owed + num(o), paid + num(p), fen + num(f)
    end
    if old then -- counters of a day that was removed stay away
      orders, owed, paid, fen = math.max(0, orders), math.max(0, owed), math.max(0, paid), math.max(0, fen)
    end
    if orders > 0 or owed > 0 or paid > 0 or fen > 0 then
      write[#write + 1] = name
      write[#write + 1] = string.format('%d %d %d %d', orders, owed, paid, fen)
    elseif had[i] then
      erase[#erase + 1] = name
    end
  end
  if #write > 0 then redis.call('HSET', key, unpack(write)) end
  if #erase > 0 then redis.call('HDEL', key, unpack(erase)) end
end

-- recounted counts a finished order as it stands now, and adds to write what its record
-- must have.
local function recounted(key, r, now, write)
  local tally = tallyof(r, now)
  if not tally or tally == r.tally then return end
  tallied(key, r.tally, tally)
  r.tally = tally
  write[#write + 1] = 'tally'
  write[#write + 1] = tally
end

-- attributed decides whose doing it was that money came in through PayScore, of which m was
-- heard: ours if the user paid within the first look of CONFIRM_SCHEDULE before or after a
-- collect call that was accepted or may have taken effect, or while a collect call was under
-- way. WeChat Pay accepts no collect call of a paid order: a payment that seems older than an
-- accepted call has the time of another clock.
local function attributed(r, m, now, underway)
  if not m.through or r.state == 'paid' and not m.more then return end
  local latest
  for fen, kind, at, tx in string.gmatch(r.pays or '', '%d+|(%d+)|([^|;]*)|(%d*)|([^|;]*)') do
    if at ~= '' and not (kind == 'MCH' or kind == '' and tx == '') then latest = math.max(latest or 0, num(at)) end
  end
  local at, look = string.match(r.accepted or '', '^(%d+) (%d+)$')
  local ours = underway or at and math.abs((latest or math.floor(now / 1000)) * 1000 - num(at)) <= num(look)
  r.pby = ours and 'collect' or 'user'
  m.write[#m.write + 1] = 'pby'
  m.write[#m.write + 1] = r.pby
end
