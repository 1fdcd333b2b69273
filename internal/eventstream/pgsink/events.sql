-- Writes events, those that are not there already. Sorted, so that two instances
-- which write the same ones wait for each other, and do not block each other.
--
-- $1 JSON array of events, each with n, its place within the millisecond
insert into events (id, type, at, n, mchid, out_order_no, seq, state, reason, appid, service_id, order_id,
    transaction_id, paid_type, total_amount, paid_amount, payments, billing_amount, owed_since, attempts, opened_at, ended_at, late_payment_at, sync,
    call, verdict, code, detail_code)
select id, type, at, n, mchid, out_order_no, seq, state, reason, appid, service_id, order_id,
    transaction_id, paid_type, total_amount, paid_amount, payments, billing_amount, owed_since, coalesce(attempts, 0), opened_at, ended_at, late_payment_at, sync,
    call, verdict, code, detail_code
from jsonb_to_recordset($1::jsonb) as e (id text, type text, at timestamptz, n bigint, mchid text, out_order_no text,
    seq bigint, state text, reason text, appid text, service_id text, order_id text,
    transaction_id text, paid_type text, total_amount bigint, paid_amount bigint, payments jsonb, billing_amount bigint, owed_since timestamptz, attempts bigint, opened_at timestamptz,
    ended_at timestamptz, late_payment_at timestamptz, sync text,
    call text, verdict text, code text, detail_code text)
order by id
on conflict (id) do nothing
