-- common: put before every script of this package, behind emit of the package
-- tasks; see scripts.go.
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

-- JUMP is the difference, in ms, from which on Redis's clock has jumped: less may
-- be a slow reply.
local JUMP = 5000

-- stamped puts the time into an entry of a log, behind its first byte: five bytes
-- of ms since the beginning of 2020. See entry.go.
local function stamped(entry, now)
  local t, b = now - 1577836800000, {}
  for i = 5, 1, -1 do
    b[i] = t % 256
    t = math.floor(t / 256)
  end
  return string.sub(entry, 1, 1) .. string.char(unpack(b)) .. string.sub(entry, 2)
end

local OPEN = { queued = true, awaiting = true }

-- working reports whether there is something left to do for an order: it is
-- open, or was withdrawn and WeChat Pay has not been told yet.
local function working(state, sync)
  return OPEN[state] or (state == 'withdrawn' and sync == 'pending')
end

-- parts takes a list of payments apart, as packPayments of payment.go writes it.
local function parts(packed)
  local list = {}
  for seq, amount, kind, at, tx in string.gmatch(packed, '(%d+)|(%d+)|([^|;]*)|(%d*)|([^|;]*)') do
    list[#list + 1] = { seq = seq, amount = amount, kind = kind, at = at, tx = tx }
  end
  return list
end

local function packed(list)
  local out = {}
  for i, p in ipairs(list) do out[i] = table.concat({ p.seq, p.amount, p.kind, p.at, p.tx }, '|') end
  return table.concat(out, ';')
end

-- find returns the payment p of a list: the one with its transaction_id, or, where
-- one of the two has none, the one that stands at its seq. A part that is first
-- seen without its transaction_id gets it later.
local function find(list, p)
  for _, k in ipairs(list) do
    if p.tx ~= '' and k.tx == p.tx then return k end
  end
  for _, k in ipairs(list) do
    if k.seq == p.seq and (k.tx == '' and p.tx == '' or
      (k.tx == '' or p.tx == '') and k.kind == p.kind and k.amount == p.amount) then return k end
  end
end

-- merged adds the payments of a signed message to those that are known, and
-- returns the list, packed. None is ever lost, whatever messages come late or in
-- part. Of two amounts of one payment the greater stands, so that the order of
-- messages does not matter. MOST is how many are listed.
local MOST = 50
local function merged(known, said)
  if (said or '') == '' or said == known then return known end
  local list = parts(known or '')
  for _, p in ipairs(parts(said)) do
    local k = find(list, p)
    if k then
      if num(p.amount) > num(k.amount) then k.amount = p.amount end
      if k.tx == '' then k.tx = p.tx end
      if k.at == '' then k.at = p.at end
      if k.kind == '' then k.kind = p.kind end
    elseif #list < MOST then
      list[#list + 1] = p
    end
  end
  return packed(list)
end

-- learnt returns what WeChat Pay has said of an order under its signature, as
-- fields and values of the record in turn: those of f that are there. What has
-- come in can only grow: messages may come late, and in any order. had is what
-- the record says has come in, and pays its list of payments.
local FACTS = { oid = 'order_id', tx = 'transaction_id', pt = 'paid_type', total = 'total', paid = 'paid' }
local function learnt(f, had, pays)
  local write = {}
  local late = f.paid ~= nil and num(f.paid) < num(had)
  for field, name in pairs(FACTS) do
    local older = late and (field == 'paid' or field == 'tx' or field == 'pt')
    if f[name] ~= nil and f[name] ~= '' and not older then
      write[#write + 1] = field
      write[#write + 1] = f[name]
    end
  end
  local list = merged(pays, f.payments)
  if list and list ~= pays then
    write[#write + 1] = 'pays'
    write[#write + 1] = list
  end
  return write
end

-- learn writes it, and reports whether any of it was new.
local function learn(order, f)
  local r = redis.call('HMGET', order, 'oid', 'tx', 'pt', 'total', 'paid', 'pays')
  local known = { oid = r[1], tx = r[2], pt = r[3], total = r[4], paid = r[5], pays = r[6] }
  local write, new = learnt(f, known.paid, known.pays), false
  for i = 1, #write, 2 do new = new or known[write[i]] ~= tostring(write[i + 1]) end
  if #write > 0 then redis.call('HSET', order, unpack(write)) end
  return new
end

-- differs compares what a signed payment says with what was known before, and
-- writes a difference down, once. It returns 'differs' where that is news.
local function differs(order, now, f)
  local r = redis.call('HMGET', order, 'state', 'total', 'paid', 'differs')
  if r[4] then return '' end
  local field, known, said = 'total_amount', r[2], f.total
  if not (known and said and num(known) ~= num(said)) then
    field, known, said = 'paid_amount', r[1] == 'paid' and r[3], f.paid
    if not (known and said and num(known) ~= num(said)) then return '' end
  end
  redis.call('HSET', order, 'differs', table.concat({ now, field, known, said }, ' '))
  return 'differs'
end

-- late writes down a verified payment, of the whole or a part, of an order that
-- has ended otherwise: beside the end, not over it. The event has the type of the
-- payment and the state of the end. It returns 'late' where that is news: the
-- first time, and when more has come in. That WeChat Pay repeats what billing
-- itself has said of a withdrawn order is none.
local function late(order, stream, no, now, f, call)
  local r = redis.call('HMGET', order, 'state', 'late', 'paid')
  local more = num(f.paid) > num(r[3])
  local new = learn(order, f)
  if (r[1] == 'withdrawn' and f.paid_type == 'MCH') or (r[2] and not more) then
    if new then emit(order, stream, 'order.attempted', no, call) end
    return ''
  end
  if not r[2] then redis.call('HSET', order, 'late', now) end
  emit(order, stream, 'order.paid', no, call)
  return 'late'
end
