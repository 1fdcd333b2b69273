-- money: what WeChat Pay's signed messages say of an order and its payments. Put before
-- settle and notice; see scripts.go.
--
-- A message f is {signed, total, paid, payments, done, known, fresh}. signed, if there is
-- any, has the signed texts by their JSON names, such as transaction_id. Amounts are strings of
-- digits, in fen, and payments is a packed list, see payment.go; what a message does not
-- say is absent. done: it says DONE and USER_PAID. known: it shows that WeChat Pay has
-- the order. fresh: it replies to a query, whereas a notification may be an old one.
--
-- A record rec has its fields state, oid, tx, pt, total, paid, pays, known, differs and
-- late by name.

-- parts unpacks a list of payments.
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

-- find returns the payment p of a list: the one with its transaction_id, or, if one of
-- the two has none, the one with its seq. A payment that first appears without its
-- transaction_id gets it later.
local function find(list, p)
  for _, k in ipairs(list) do
    if p.tx ~= '' and k.tx == p.tx then return k end
  end
  for _, k in ipairs(list) do
    if k.seq == p.seq and (k.tx == '' and p.tx == '' or
      (k.tx == '' or p.tx == '') and k.kind == p.kind and k.amount == p.amount) then return k end
  end
end

-- MOST is how many payments of an order are listed.
local MOST = 50

-- elsewhere reports whether a payment did not come through PayScore: the merchant has
-- told WeChat Pay so, or the payment lacks all that one through PayScore has.
local function elsewhere(p) return p.kind == 'MCH' or p.kind == '' and p.tx == '' end

-- merge adds the payments of a message to list. It never loses one, even if messages
-- arrive late, in part or out of order; of two amounts of one payment the greater one
-- stays, so that the order of messages does not matter. It returns how many payments are
-- new or greater, how many of those came through PayScore, and both amounts of a payment
-- that has two.
local function merge(list, said)
  local more, through, known, other = 0, 0, nil, nil
  for _, p in ipairs(parts(said)) do
    local k, gained = list[1] and find(list, p), false
    if k then
      if p.amount ~= k.amount then known, other = k.amount, p.amount end
      if num(p.amount) > num(k.amount) then k.amount, gained = p.amount, true end
      if k.tx == '' then k.tx = p.tx end
      if k.at == '' then k.at = p.at end
      if k.kind == '' then k.kind = p.kind end
    elseif #list < MOST then
      k, gained = p, true
      list[#list + 1] = p
    end
    if gained then
      more = more + 1
      if not elsewhere(k) then through = through + 1 end
    end
  end
  return more, through, known, other
end

-- totals returns what was paid by a record and its list of payments: in all, through
-- PayScore, and the sum of the list. What the list does not explain came through
-- PayScore, unless all of the order was paid elsewhere.
local function totals(rec, list)
  local sum, other = 0, 0
  for _, p in ipairs(list) do
    sum = sum + num(p.amount)
    if elsewhere(p) then other = other + num(p.amount) end
  end
  local all = math.max(sum, num(rec.paid))
  if rec.pt == 'MCH' and (rec.tx or '') == '' then return all, sum - other, sum end
  return all, all - other, sum
end

-- ALARMS is how many alarms a record remembers.
local ALARMS = 5

-- heard works out what a message f says beyond the record rec, whose fields it updates;
-- now is for the time of an alarm. It returns {
--   write     fields and values to write, in turn
--   new       true if one of them is more than a memory of alarms
--   paid      how much more is paid than was known, in fen
--   through   true if money that was not known came through PayScore
--   more      true if money came in by any way, or a payment is listed that was not,
--             though others were
--   lowered   true if the merchant lowered the order's total
--   differs   true if the amounts raise an alarm that was not raised before
-- }
--
-- An order that is paid learns of nothing but more money. A finished order whose record
-- has money and no list was written by an earlier release: billing has booked that
-- money, so it is not listed later.
local function heard(rec, f, now)
  local m = { write = {}, paid = 0 }
  local said = f.signed or {}
  if not (said.order_id or f.total or f.paid or f.payments or f.known or f.done) then return m end
  local was = {}
  local function set(field, value)
    if (value or '') == '' or value == rec[field] then return end
    was[field] = was[field] or { rec[field] }
    rec[field], m.new = value, true
    m.write[#m.write + 1] = field
    m.write[#m.write + 1] = value
  end
  local alarms = {}
  local function alarm(field, known, said)
    alarms[#alarms + 1] = table.concat({ field, num(known) == 0 and '0' or known, said }, ' ')
  end

  local list = rec.pays and parts(rec.pays) or {}
  local listed, total0, paid0 = #list > 0, rec.total, rec.paid
  local all0, through0 = totals(rec, list)
  -- What was paid only grows: a message that says less is an old one.
  local older, newer = num(f.paid) < num(paid0), num(f.paid) > num(paid0)

  set('oid', said.order_id)
  if f.known and not rec.oid and not rec.known then
    m.write[#m.write + 1] = 'known'
    m.write[#m.write + 1] = '1'
  end
  if not older then
    TEXTS(set, said)
    if newer then set('paid', f.paid) end
    local total = f.total and num(f.total) or 0
    if total > num(total0) then
      -- WeChat Pay raises no total, and the old total of an old notification is not
      -- a raised one.
      if total0 and (f.fresh or f.done or newer) then alarm('total_amount', total0, f.total) end
      if not total0 or f.fresh or f.done or newer then set('total', f.total) end
    elseif total > 0 and total < num(total0) then
      -- The merchant may lower the order's total as long as it waits.
      if rec.state == 'paid' then
        alarm('total_amount', total0, f.total)
      else
        m.lowered = true
        m.write[#m.write + 1] = 'lowered'
        m.write[#m.write + 1] = table.concat({ now, total0, f.total }, ' ')
      end
      set('total', f.total)
    end
  end
  local gained, throughlist, amount, other = 0, 0, nil, nil
  if f.payments and f.payments ~= rec.pays then gained, throughlist, amount, other = merge(list, f.payments) end
  local all, through, sum = totals(rec, list)
  -- A payment elsewhere that arrived without a list.
  local untold = not f.payments and said.paid_type == 'MCH'
  m.through = through > through0 and not untold
  m.grown = all > all0
  m.paid = math.max(0, num(rec.paid) - num(paid0))
  m.more = m.grown or listed and gained > 0
  m.relisted = listed and throughlist > 0
  if #list > 0 and (listed or OPEN[rec.state] or m.grown) then set('pays', packed(list)) end

  if amount then alarm('payments', amount, other) end
  if f.done and #list > 0 and sum ~= num(rec.paid) and not untold then
    alarm('payments', string.format('%.0f', sum), rec.paid or '0')
  end
  if f.paid and older then
    if f.done then alarm('paid_amount', paid0, f.paid) end
  elseif f.paid and rec.total and (num(rec.paid) > num(rec.total) or f.done and num(rec.paid) < num(rec.total)) then
    alarm('paid_amount', rec.total, rec.paid or '0')
  elseif rec.state == 'paid' and paid0 and newer and total0 == rec.total then
    alarm('paid_amount', paid0, f.paid)
  end

  if rec.state == 'paid' and not m.more then
    m.write, m.new, m.paid = {}, false, 0
    for field, old in pairs(was) do rec[field] = old[1] end
  end
  if #alarms == 0 then return m end
  local given = {}
  for entry in string.gmatch(rec.differs or '', '[^;]+') do given[#given + 1] = entry end
  for _, said in ipairs(alarms) do
    local before = false
    for _, entry in ipairs(given) do before = before or string.match(entry, '^%d+ (.*)$') == said end
    if not before then
      given[#given + 1], m.differs = now .. ' ' .. said, true
      if #given > ALARMS then table.remove(given, 1) end
    end
  end
  if m.differs then
    m.write[#m.write + 1] = 'differs'
    m.write[#m.write + 1] = table.concat(given, ';')
  end
  return m
end

-- beside decides what a message, of which m was heard, means for a finished order: it is
-- recorded beside the final state, which stays. It returns the type of the event, or nil
-- for none, and adds to m.write. m.late is true if billing must learn of a payment after
-- another final state. WeChat Pay's repetition of what billing itself has said of a
-- withdrawn order is not such a payment; anything that came through PayScore is.
local function beside(rec, m, now)
  if rec.state == 'paid' then return m.more and 'order.paid' or nil end
  m.late = m.through or m.grown and rec.state ~= 'withdrawn'
  if m.late and not rec.late then
    m.write[#m.write + 1] = 'late'
    m.write[#m.write + 1] = now
  end
  if m.late or m.relisted then return 'order.paid' end
  return m.new and 'order.attempted' or nil
end

-- newsof returns what an operator must know of m.
local function newsof(m)
  local news = {}
  for _, n in ipairs({ 'late', 'differs', 'lowered' }) do
    if m[n] then news[#news + 1] = n end
  end
  return table.concat(news, ' ')
end

-- counted keeps the sum of the amounts of paid orders right.
local function counted(stats, rec, m)
  if rec.state == 'paid' and m.paid > 0 then
    redis.call('HINCRBY', stats, 'paid_amount', string.format('%.0f', m.paid))
  end
end
