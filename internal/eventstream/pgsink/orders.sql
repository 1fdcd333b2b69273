-- Brings orders up to date: the newest event of an order is the order. An older
-- one that comes later changes nothing. Sorted as in events.sql.
--
-- The events of an order that is known since the same moment are in the order of
-- their seq: after a failover of Redis to a node whose clock is behind, a later
-- event can have an earlier time. Others are in the order of their time.
--
-- $1 JSON array of events, each with n, its place within the millisecond
insert into orders as o (mchid, out_order_no, state, reason, appid, service_id, order_id, transaction_id, paid_type,
    total_amount, paid_amount, billing_amount, owed_since, attempts, opened_at, ended_at, late_payment_at, sync, seq,
    last_event_id, updated_at, updated_n)
select distinct on (mchid, out_order_no) mchid, out_order_no, state, reason, appid, service_id, order_id, transaction_id, paid_type,
    total_amount, paid_amount, billing_amount, owed_since, coalesce(attempts, 0), opened_at, ended_at, late_payment_at, sync, seq,
    id, at, n
from jsonb_to_recordset($1::jsonb) as e (id text, at timestamptz, n bigint, mchid text, out_order_no text,
    seq bigint, state text, reason text, appid text, service_id text, order_id text,
    transaction_id text, paid_type text, total_amount bigint, paid_amount bigint, billing_amount bigint, owed_since timestamptz,
    attempts bigint, opened_at timestamptz, ended_at timestamptz, late_payment_at timestamptz, sync text)
order by mchid, out_order_no, state = 'paid' desc, opened_at desc nulls last, seq desc nulls last, at desc, n desc
on conflict (mchid, out_order_no) do update set
    state = excluded.state, reason = excluded.reason, appid = excluded.appid, service_id = excluded.service_id,
    order_id = excluded.order_id, transaction_id = excluded.transaction_id, paid_type = excluded.paid_type,
    total_amount = excluded.total_amount, paid_amount = excluded.paid_amount,
    billing_amount = excluded.billing_amount, owed_since = excluded.owed_since, attempts = excluded.attempts,
    opened_at = excluded.opened_at, ended_at = excluded.ended_at, late_payment_at = excluded.late_payment_at,
    sync = excluded.sync, seq = excluded.seq, last_event_id = excluded.last_event_id,
    updated_at = excluded.updated_at, updated_n = excluded.updated_n
where case
    -- Nothing undoes paid. What comes after it is of an order that had left the
    -- ledger and was enqueued again.
    when (excluded.state = 'paid') <> (o.state = 'paid') then excluded.state = 'paid'
    when excluded.opened_at = o.opened_at and excluded.seq <> o.seq then excluded.seq > o.seq
    else (excluded.updated_at, excluded.updated_n) > (o.updated_at, o.updated_n)
end
