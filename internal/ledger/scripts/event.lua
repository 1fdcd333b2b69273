-- event: writes to the stream of outcomes what has just happened to an order,
-- with all that is known of the order after the change. So any event can be
-- understood alone, and the newest one of an order is the order. The fields
-- are the same ones, in the same order: a stream stores their names only once in
-- a while then. Those that are not known are empty.
--
-- stream  the key
-- kind    order.opened, order.attempted, order.paid, …
-- no      out_order_no
-- n       which of the order's events it is
-- r       {state, reason, appid, svc, oid, tx, pt, total, paid, attempts, opened,
--         sync, ended, late, pays, bill, owed} of the record; nil or false where it
--         says nothing
-- call    {call, verdict, code, detail_code}, of the call that it came from; nil
--         where there was none
local function event(stream, kind, no, n, r, call)
  for i = 1, 17 do r[i] = r[i] or '' end
  call = call or {}
  redis.call('XADD', stream, '*', 'type', kind, 'no', no, 'seq', n, 'state', r[1], 'reason', r[2],
    'appid', r[3], 'service_id', r[4], 'order_id', r[5], 'transaction_id', r[6], 'paid_type', r[7],
    'total', r[8], 'paid', r[9], 'attempts', r[10], 'opened', r[11], 'sync', r[12],
    'ended', r[13], 'late', r[14], 'payments', r[15], 'billing', r[16], 'owed', r[17],
    'call', call[1] or '', 'verdict', call[2] or '', 'code', call[3] or '', 'detail', call[4] or '')
end

-- openedevent is event for an order's first, of which a hand-over writes a million
-- in a row: with the fields that are known, which takes two thirds of the time and
-- of the bytes. Between other events it takes some more bytes than they do.
-- bill and owed are '' where billing did not say them.
local function openedevent(stream, no, appid, svc, opened, bill, owed)
  if bill .. owed == '' then
    redis.call('XADD', stream, '*', 'type', 'order.opened', 'no', no, 'seq', '1', 'state', 'queued',
      'appid', appid, 'service_id', svc, 'opened', opened)
  else
    redis.call('XADD', stream, '*', 'type', 'order.opened', 'no', no, 'seq', '1', 'state', 'queued',
      'appid', appid, 'service_id', svc, 'opened', opened, 'billing', bill, 'owed', owed)
  end
end

-- emit is event for a record (the key order) that was not read.
local function emit(order, stream, kind, no, call)
  local n = redis.call('HINCRBY', order, 'events', 1)
  event(stream, kind, no, n, redis.call('HMGET', order, 'state', 'reason', 'appid', 'svc', 'oid', 'tx', 'pt',
    'total', 'paid', 'attempts', 'opened', 'sync', 'ended', 'late', 'pays', 'bill', 'owed'), call)
end
