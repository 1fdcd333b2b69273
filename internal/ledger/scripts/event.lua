-- event: writes to the stream of outcomes what has just happened to an order, with all
-- that is known of the order after the change. Each event can be understood alone, and
-- the newest event of an order describes the order. The fields are always the same in
-- the same order, because a stream then stores their names only now and then. Unknown
-- fields are empty. See record.go for EVENT and FIELDS.
--
-- stream  the key
-- kind    order.opened, order.attempted, order.paid, …
-- no      out_order_no
-- n       which of the order's events it is
-- r       the record by name, as it is after the change
-- call    {call, verdict, code, detail_code} of the call that it came from; nil for none
-- deed    of a withdrawal or a reopening; see audit.lua. Such events are few, and have
--         one field more
local function event(stream, kind, no, n, r, call, deed)
  call = call or {}
  if deed then
    redis.call('XADD', stream, '*', 'type', kind, 'no', no, 'seq', n, EVENT(r),
      'call', '', 'verdict', '', 'code', '', 'detail', '', 'by', deed[1])
    return
  end
  redis.call('XADD', stream, '*', 'type', kind, 'no', no, 'seq', n, EVENT(r),
    'call', call[1] or '', 'verdict', call[2] or '', 'code', call[3] or '', 'detail', call[4] or '')
end

-- emit is event for a record (the key order) that was not read.
local function emit(order, stream, kind, no, call, deed)
  local n = redis.call('HINCRBY', order, 'events', 1)
  local r = FIELDS(order, EVENT)
  -- A reopened order has no reason; the event says why it was reopened.
  if deed and not r.reason then r.reason = deed[2] end
  event(stream, kind, no, n, r, call, deed)
end
