-- kept: the compact form of a finished order's record, which compact writes. Put before
-- the scripts that read or change finished orders; see scripts.go.
--
-- In a compact record, k says what other fields of a whole record say. The fields state,
-- paid and events stay, so that a previous release, too, sees that the order is finished,
-- and whether a payment is new. A field that stands beside k is newer than k, but for
-- sync: beside k, NOTOLD means that it is absent. In k are:
--
--   2  which of PARTS follow, in this order; the lowest bit is the first
--   …  owner    the number in words of "<appid> <service_id>", or with " <schedule>"
--      reason   its number in words
--      oid      digits
--      total
--      opened   5 bytes: ms since the beginning of 2020
--      ended    ms since opened
--      same     nothing: last is ended
--      last     ms from last to ended
--      payment  tx, pt and pays, if all was paid by one payment through PayScore: digits,
--               and seconds from the payment to ended
--      asked    nothing: bill is total
--      bill
--      owed     seconds since the beginning of 2000
--      usual    nothing: oid has 34 digits and tx 28; otherwise their number is before them
--      calls    attempts, collects, queries, round
--      err      1 + the number in words of the message of the last failed call, or 0; and
--               its entry in the log, without its time and that message, behind its length
--      acts     their number; of each 5 bytes of ms as opened, the numbers in words of by,
--               action and reason, and the digits of the token behind their number
--
-- Behind them is, if the record had a tally that follows from its other fields (see
-- recovery.lua), 1, more by 1 if pby is collect and by 2 if it is user, and by 3 times 1 +
-- the number in words of its cause, if it has one. Earlier releases do not read it.
--
-- Numbers are uvarints. Values of more than 64 bytes make a hash several times as large
-- (hash-max-listpack-value), so that k continues in k2, k3 and k4.
--
-- words is a hash of texts by their number, and of numbers by "=<text>".

-- NOTOLD is sync in the compact record of a withdrawn order of which WeChat Pay was not
-- notified. A previous release, which finds no owner there, must not begin to notify it: a
-- due order without an owner fails its sweeps. A record that has this value itself is not
-- kept compact.
local NOTOLD = 'not_needed'

-- form returns functions that write and read k. It makes them only when a compact record
-- is there, because most calls of a script find none.
local function form()
  local PARTS = { 'owner', 'reason', 'oid', 'total', 'opened', 'ended', 'same', 'last', 'payment', 'asked', 'bill', 'owed', 'usual', 'calls', 'err', 'acts' }
  local CALLS = { 'attempts', 'collects', 'queries', 'round' }
  local MS2020, S2000 = 1577836800000, 946684800

  local function text(n) return string.format('%.0f', n) end

  -- bit reports whether the n-th bit of a number is set, from 0 on.
  local function bit(number, n) return math.floor(number / 2 ^ n) % 2 == 1 end

  local function bytes(n, size)
    local b = {}
    for i = size, 1, -1 do
      b[i] = n % 256
      n = math.floor(n / 256)
    end
    return string.char(unpack(b))
  end

  local function uvarint(n)
    local b = {}
    while n >= 128 do
      b[#b + 1] = n % 128 + 128
      n = math.floor(n / 128)
    end
    b[#b + 1] = n
    return string.char(unpack(b))
  end

  -- SIZE is how many bytes so many digits take.
  local SIZE = { 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5, 5, 6, 6 }

  local function digits(s)
    local out = {}
    for i = 1, #s, #SIZE do
      local part = string.sub(s, i, i + #SIZE - 1)
      -- The embedded Redis takes digits behind a zero for octal ones.
      local n = string.match(part, '[1-9]%d*')
      out[#out + 1] = bytes(tonumber(n or '0'), SIZE[#part])
    end
    return table.concat(out)
  end

  -- reading takes what the functions above have written from s, from r.at on.
  local function reading(s)
    local r = { at = 1 }
    function r.take(n)
      r.at = r.at + n
      return string.sub(s, r.at - n, r.at - 1)
    end
    function r.bytes(size)
      local n = 0
      for i = r.at, r.at + size - 1 do n = n * 256 + string.byte(s, i) end
      r.at = r.at + size
      return n
    end
    function r.uvarint()
      local n, unit = 0, 1
      while true do
        local b = r.bytes(1)
        n = n + b % 128 * unit
        if b < 128 then return n end
        unit = unit * 128
      end
    end
    function r.digits(n)
      local out = {}
      while n > 0 do
        local part = math.min(n, #SIZE)
        out[#out + 1] = string.format('%0' .. part .. '.0f', r.bytes(SIZE[part]))
        n = n - part
      end
      return table.concat(out)
    end
    return r
  end

  -- message returns a reading of an entry without its time, at the message that the entry
  -- has or had, and whether it has one by its flags. See entry.go.
  local function message(entry)
    local r = reading(entry)
    local flags = r.bytes(1)
    if bit(flags, 1) then
      r.take(r.uvarint())
      r.take(r.uvarint())
    else
      r.take(1)
    end
    if bit(flags, 2) then
      r.uvarint()
      r.take(r.uvarint())
    else
      r.take(1)
    end
    r.uvarint()
    return r, bit(flags, 3)
  end

  -- packed returns k of a finished order's record r, and the fields that it stands for.
  -- word(text, owner) returns the number of a text in words, or nil if it can have none.
  local function packed(r, word)
    local has, out, stands = {}, {}, {}
    local function put(part, value, ...)
      has[part] = true
      out[#out + 1] = value
      for _, name in ipairs({ ... }) do stands[name] = true end
    end
    local function count(s)
      s = string.match(s or '', '^%d+$')
      return s and #s <= 15 and tonumber(s)
    end
    local total, opened, ended, bill = count(r.total), num(r.opened), num(r.ended), count(r.bill)
    local at, tx
    if r.state == 'paid' and total and r.paid == r.total and r.pt == 'NEWTON' then
      at, tx = string.match(r.pays or '', '^1|' .. r.total .. '|NEWTON|(%d+)|(%d+)$')
      if tx ~= r.tx or num(at) > ended / 1000 then tx = nil end
    end
    local oid = string.match(r.oid or '', '^%d+$')
    has.usual = (not oid or #oid == 34) and (not tx or #tx == 28)
    local function length(s) return has.usual and '' or uvarint(#s) end

    local owner = r.appid and r.svc and word(table.concat({ r.appid, r.svc, r.schedule }, ' '), true)
    if owner then put('owner', uvarint(owner), 'appid', 'svc', 'schedule') end
    local reason = r.reason and word(r.reason)
    if reason then put('reason', uvarint(reason), 'reason') end
    if oid then put('oid', length(oid) .. digits(oid), 'oid') end
    if total then put('total', uvarint(total), 'total') end
    if opened >= MS2020 and ended >= opened then
      put('opened', bytes(opened - MS2020, 5), 'opened')
      put('ended', uvarint(ended - opened), 'ended')
      if r.last == r.ended then
        put('same', '', 'last')
      elseif r.last and num(r.last) < ended then
        put('last', uvarint(ended - num(r.last)), 'last')
      end
      if tx then put('payment', length(tx) .. digits(tx) .. uvarint(math.floor(ended / 1000) - num(at)), 'tx', 'pt', 'pays') end
    end
    if bill and bill == total then
      put('asked', '', 'bill')
    elseif bill then
      put('bill', uvarint(bill), 'bill')
    end
    local owed = num(r.owed) / 1000 - S2000
    if owed >= 0 and owed == math.floor(owed) then put('owed', uvarint(owed), 'owed') end
    local calls = {}
    for i, name in ipairs(CALLS) do calls[i] = uvarint(math.max(0, num(r[name]))) end
    put('calls', table.concat(calls), unpack(CALLS))
    if r.err then
      local entry, n = string.sub(r.err, 1, 1) .. string.sub(r.err, 7), 0
      local c, said = message(entry)
      if said then
        local from = c.at
        local number = word(c.take(c.uvarint()))
        if number then n, entry = number + 1, string.sub(entry, 1, from - 1) .. string.sub(entry, c.at) end
      end
      -- A long message for which words has no room stays where it is.
      if #entry <= 120 then put('err', uvarint(n) .. uvarint(#entry) .. entry, 'err') end
    end
    local acts, known = r.acts and cjson.decode(r.acts) or {}, true
    local packed = { uvarint(#acts) }
    for _, act in ipairs(acts) do
      local by, action, reason = word(act[2] or ''), word(act[3] or ''), word(act[4] or '')
      local token = string.match(act[5] or '', '^%d+$') -- no value is not nil inside an expression of the embedded Redis
      known = by and action and reason and token and num(act[1]) >= MS2020
      if not known then break end
      packed[#packed + 1] = bytes(act[1] - MS2020, 5) .. uvarint(by) .. uvarint(action) .. uvarint(reason) .. uvarint(#act[5]) .. digits(act[5])
    end
    if #acts > 0 and #acts <= 3 and known then put('acts', table.concat(packed), 'acts') end

    local flags = 0
    for i, part in ipairs(PARTS) do
      if has[part] then flags = flags + 2 ^ (i - 1) end
    end
    return bytes(flags, 2) .. table.concat(out), stands
  end

  -- unpacked returns the fields that k stands for. words is the key.
  local function unpacked(k, words)
    local r, has, f = reading(k), {}, {}
    local flags = r.bytes(2)
    for i, part in ipairs(PARTS) do has[part] = bit(flags, i - 1) end
    local function length(usual) return has.usual and usual or r.uvarint() end
    local function word(n) return redis.call('HGET', words, text(n)) or '' end

    local ended
    if has.owner then
      f.appid, f.svc, f.schedule = string.match(word(r.uvarint()), '^(%S*) (%S*) ?(.*)$')
      if f.schedule == '' then f.schedule = nil end
    end
    if has.reason then f.reason = word(r.uvarint()) end
    if has.oid then f.oid = r.digits(length(34)) end
    if has.total then f.total = text(r.uvarint()) end
    if has.opened then
      local opened = MS2020 + r.bytes(5)
      ended = opened + r.uvarint()
      f.opened, f.ended = text(opened), text(ended)
    end
    if has.same then f.last = f.ended end
    if has.last then f.last = text(ended - r.uvarint()) end
    if has.payment then
      f.tx, f.pt = r.digits(length(28)), 'NEWTON'
      f.pays = table.concat({ '1', f.total, f.pt, text(math.floor(ended / 1000) - r.uvarint()), f.tx }, '|')
    end
    if has.asked then f.bill = f.total end
    if has.bill then f.bill = text(r.uvarint()) end
    if has.owed then f.owed = text((S2000 + r.uvarint()) * 1000) end
    for _, name in ipairs(CALLS) do
      local n = r.uvarint()
      if n > 0 then f[name] = text(n) end
    end
    if has.err then
      local n = r.uvarint()
      local entry = r.take(r.uvarint())
      if n > 0 then
        local at, said = message(entry).at, word(n - 1)
        entry = string.sub(entry, 1, at - 1) .. uvarint(#said) .. said .. string.sub(entry, at)
      end
      f.err = string.sub(entry, 1, 1) .. string.rep('\0', 5) .. string.sub(entry, 2)
    end
    if has.acts then
      local acts = {}
      for i = 1, r.uvarint() do
        acts[i] = { MS2020 + r.bytes(5), word(r.uvarint()), word(r.uvarint()), word(r.uvarint()), r.digits(r.uvarint()) }
      end
      f.acts = cjson.encode(acts)
    end
    local counted = r.at <= #k
    if counted then
      local n = r.uvarint() - 1
      f.pby = ({ 'collect', 'user' })[n % 3]
      if n >= 3 then f.cause = word(math.floor(n / 3) - 1) end
    end
    return f, counted
  end

  -- behind returns what k has behind its parts for a record with a tally, and adds what
  -- that stands for to stands; or '' if the tally must stay.
  local function behind(r, word, stands)
    local cause = r.cause and word(r.cause)
    if not r.tally or r.tally ~= tallytext(r) or r.cause and not cause then return '' end
    stands.pby, stands.cause = true, true
    return uvarint(1 + (r.pby == 'collect' and 1 or r.pby == 'user' and 2 or 0) + (cause and 3 * (1 + cause) or 0))
  end

  return { behind = behind, packed = packed, unpacked = unpacked, reading = reading, bit = bit, text = text }
end

-- kept returns the fields that a compact record lacks, by name, and whether its sync is
-- NOTOLD, and whether it had a tally. key is the order's.
local function kept(key, words)
  local c = redis.call('HMGET', key, 'k', 'k2', 'k3', 'k4', 'state', 'ended', 'sync')
  local f, counted = form().unpacked(c[1] .. (c[2] or '') .. (c[3] or '') .. (c[4] or ''), words)
  -- A previous release has reopened it, and maybe finished it again.
  if OPEN[c[5]] or c[6] and f.ended then f.reason, f.ended, counted = nil, nil, false end
  return f, c[7] == NOTOLD, counted
end

-- expand makes a compact record a whole one, so that it can be changed.
local function expand(key, words)
  local fields, nottold, counted = kept(key, words)
  for name, value in pairs(fields) do redis.call('HSETNX', key, name, value) end
  redis.call('HDEL', key, 'k', 'k2', 'k3', 'k4')
  if nottold then redis.call('HDEL', key, 'sync') end
  if counted then redis.call('HSETNX', key, 'tally', tallytext(FIELDS(key, TALLY))) end
end

-- filled adds to the fields r of a record, of which k was read, those that k stands for;
-- tally only if r has all that is counted.
local function filled(key, r, words)
  if not r.k then return end
  local fields, nottold, counted = kept(key, words)
  for name, value in pairs(fields) do r[name] = r[name] or value end
  if nottold then r.sync = nil end
  if counted and not r.tally then r.tally = tallytext(r) end
end

-- record returns a record as HGETALL does, with the fields that k stands for, and k.
local function record(key, words)
  local list, has = redis.call('HGETALL', key), {}
  for i = 1, #list, 2 do has[list[i]] = i end
  if has.k then
    local fields, nottold = kept(key, words)
    for name, value in pairs(fields) do
      if not has[name] then
        list[#list + 1] = name
        list[#list + 1] = value
      end
    end
    if nottold then list[has.sync + 1] = '' end
  end
  return list
end
