-- Makes the payments of orders whose events list none, because an earlier release
-- wrote them: what was paid of an order rose by so much when this transaction_id was
-- learnt. The statements before have locked the orders.
--
-- $1, $2 merchant and order of those events, as arrays
with asked as (
    select distinct mchid, out_order_no
    from unnest($1::text[], $2::text[]) as e (mchid, out_order_no)
), open as (
    select mchid, out_order_no from asked
    where not exists (select from payments p
        where p.mchid = asked.mchid and p.out_order_no = asked.out_order_no and not p.derived)
), told as (
    select mchid, out_order_no, at, coalesce(paid_type, '') as paid_type,
           case when paid_type = 'MCH' then null else nullif(transaction_id, '') end as transaction_id,
           row_number() over in_turn as place,
           paid_amount - coalesce(max(paid_amount) over (in_turn rows between unbounded preceding and 1 preceding), 0) as rise
    from events join open using (mchid, out_order_no)
    where paid_amount > 0
    window in_turn as (partition by mchid, out_order_no order by at, n)
), risen as (
    select mchid, out_order_no, coalesce(transaction_id, out_order_no || '#' || place) as payment_key,
           min(transaction_id) as transaction_id, sum(rise)::bigint as amount, min(paid_type) as paid_type, min(at) as at
    from told where rise > 0
    group by 1, 2, 3
), gone as (
    delete from payments p using open
    where p.mchid = open.mchid and p.out_order_no = open.out_order_no
      and not exists (select from risen r where r.mchid = p.mchid and r.payment_key = p.payment_key)
)
insert into payments as p (mchid, payment_key, out_order_no, transaction_id, amount, paid_type, paid_at, learnt_at, derived)
select mchid, payment_key, out_order_no, transaction_id, amount, paid_type, at, at, true from risen
order by mchid, payment_key
on conflict (mchid, payment_key) do update set amount = excluded.amount, paid_type = excluded.paid_type,
    paid_at = excluded.paid_at, learnt_at = excluded.learnt_at
where p.derived and p.out_order_no = excluded.out_order_no
