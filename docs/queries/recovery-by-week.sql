-- What came in, by the week in which billing enqueued the orders first, and by day from then on: the numbers of
-- GET /v1/analytics. Only orders that have ended count, of the last 400 days. by_day_7 are paid orders whose last payment
-- came within 7 times 24 hours, by_day_7_yuan all payments that did.
with ended as (
    select mchid, out_order_no, state, coalesce(opened_at, ended_at) as opened, date_trunc('second', ended_at) as ended,
           coalesce(total_amount, billing_amount, 0) as owed
    from orders
    where state in ('paid', 'closed', 'rejected', 'withdrawn', 'exhausted')
      and (coalesce(opened_at, ended_at) at time zone 'Asia/Shanghai')::date > (now() at time zone 'Asia/Shanghai')::date - 400
),
incoming as (
    select e.mchid, e.out_order_no, p.amount, coalesce(p.paid_at, e.ended) - e.opened as after,
           e.state = 'paid' and row_number() over (partition by e.mchid, e.out_order_no order by coalesce(p.paid_at, e.ended) desc, p.seq desc nulls last) = 1 as last
    from ended e
    join payments p on p.mchid = e.mchid and p.out_order_no = e.out_order_no
),
paid as (
    select mchid, out_order_no, sum(amount) as fen,
           count(*) filter (where last and after <= interval '24 hours') as n1, sum(amount) filter (where after <= interval '24 hours') as fen1,
           count(*) filter (where last and after <= interval '72 hours') as n3, sum(amount) filter (where after <= interval '72 hours') as fen3,
           count(*) filter (where last and after <= interval '168 hours') as n7, sum(amount) filter (where after <= interval '168 hours') as fen7,
           count(*) filter (where last and after <= interval '336 hours') as n14, sum(amount) filter (where after <= interval '336 hours') as fen14,
           count(*) filter (where last and after <= interval '720 hours') as n30, sum(amount) filter (where after <= interval '720 hours') as fen30
    from incoming
    group by mchid, out_order_no
)
select e.mchid, date_trunc('week', e.opened at time zone 'Asia/Shanghai')::date as week,
       count(*) as orders, round(sum(e.owed) / 100.0, 2) as yuan,
       count(*) filter (where e.state = 'paid') as paid_orders, round(coalesce(sum(p.fen), 0) / 100.0, 2) as paid_yuan,
       coalesce(sum(n1), 0) as by_day_1, round(coalesce(sum(fen1), 0) / 100.0, 2) as by_day_1_yuan,
       coalesce(sum(n3), 0) as by_day_3, round(coalesce(sum(fen3), 0) / 100.0, 2) as by_day_3_yuan,
       coalesce(sum(n7), 0) as by_day_7, round(coalesce(sum(fen7), 0) / 100.0, 2) as by_day_7_yuan,
       coalesce(sum(n14), 0) as by_day_14, round(coalesce(sum(fen14), 0) / 100.0, 2) as by_day_14_yuan,
       coalesce(sum(n30), 0) as by_day_30, round(coalesce(sum(fen30), 0) / 100.0, 2) as by_day_30_yuan
from ended e
left join paid p on p.mchid = e.mchid and p.out_order_no = e.out_order_no
group by e.mchid, week
order by e.mchid, week;
