-- Brings the row of a day whose books were closed up to date. An event that is delivered
-- again, or late, changes nothing. The ids of the events (<mchid>-<ms>-<n>) say which
-- comparison is later. They never go back; Redis's clock may.
insert into books as b (mchid, date, closed_at, event_id,
    bill_rows, bill_payscore_rows, bill_amount, bill_sha1, ledger_orders, ledger_amount,
    matched_orders, matched_amount, waiting_orders, waiting_amount, exceptions, refunds, exceptions_left_out)
values ($1, $2::text::date, $3, $4, $5, $6, $7, nullif($8, ''), $9, $10, $11, $12, $13, $14, $15, $16, $17)
on conflict (mchid, date) do update set
    closed_at = excluded.closed_at, event_id = excluded.event_id,
    bill_rows = excluded.bill_rows, bill_payscore_rows = excluded.bill_payscore_rows,
    bill_amount = excluded.bill_amount, bill_sha1 = excluded.bill_sha1,
    ledger_orders = excluded.ledger_orders, ledger_amount = excluded.ledger_amount,
    matched_orders = excluded.matched_orders, matched_amount = excluded.matched_amount,
    waiting_orders = excluded.waiting_orders, waiting_amount = excluded.waiting_amount,
    exceptions = excluded.exceptions, refunds = excluded.refunds,
    exceptions_left_out = excluded.exceptions_left_out
where (split_part(excluded.event_id, '-', 2)::bigint, split_part(excluded.event_id, '-', 3)::bigint)
    > (split_part(b.event_id, '-', 2)::bigint, split_part(b.event_id, '-', 3)::bigint)
