-- Writes the payments that events list. A payment that several events list is one
-- row; of two amounts the greater one stands, as in the ledger, so that the order
-- of the events does not matter. A transaction_id that two orders list is one row,
-- of one of them. orders.sql has locked the orders before.
--
-- $1, … the payments, as arrays: merchant, order, when its event happened, and the
-- payment's own
insert into payments as p (mchid, payment_key, out_order_no, transaction_id, seq, amount, paid_type, paid_at, learnt_at, derived)
select distinct on (mchid, coalesce(transaction_id, out_order_no || '#' || seq))
    mchid, coalesce(transaction_id, out_order_no || '#' || seq), out_order_no, min(transaction_id), min(seq), max(amount),
    min(paid_type), min(paid_at), min(at), false
from unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::timestamptz[])
     as e (mchid, out_order_no, at, transaction_id, seq, amount, paid_type, paid_at)
group by 1, 2, 3
order by 1, 2, 3
on conflict (mchid, payment_key) do update set
    seq = case when p.derived then excluded.seq else p.seq end,
    amount = case when p.derived then excluded.amount else greatest(p.amount, excluded.amount) end,
    paid_type = case when p.derived then excluded.paid_type else p.paid_type end,
    paid_at = case when p.derived then excluded.paid_at else least(p.paid_at, excluded.paid_at) end,
    learnt_at = least(p.learnt_at, excluded.learnt_at),
    derived = false
where p.out_order_no = excluded.out_order_no
