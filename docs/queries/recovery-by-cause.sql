-- What came in of the orders that have ended, of the last 400 days: by number of attempts, by the first decline, by the
-- hour of the payments in Shanghai, and by whose doing they were. The numbers of GET /v1/analytics. Payments have no
-- orders and no yuan of their own: a paid order counts with its last payment.
with ended as (
    select o.mchid, o.out_order_no, o.state, o.paid_by, o.attempts, date_trunc('second', o.ended_at) as ended,
           coalesce(o.total_amount, o.billing_amount, 0) as owed, coalesce(d.cause, '') as cause
    from orders o
    left join lateral (
        select left(regexp_replace(coalesce(nullif(e.detail_code, ''), nullif(e.code, ''), 'declined'), '[^A-Za-z0-9_]', '_', 'g'), 40) as cause
        from events e
        where e.mchid = o.mchid and e.out_order_no = o.out_order_no and e.verdict = 'declined' and e.at >= coalesce(o.opened_at, e.at)
        order by e.at, e.n limit 1
    ) d on true
    where o.state in ('paid', 'closed', 'rejected', 'withdrawn', 'exhausted')
      and (coalesce(o.opened_at, o.ended_at) at time zone 'Asia/Shanghai')::date > (now() at time zone 'Asia/Shanghai')::date - 400
),
incoming as (
    select e.mchid, e.out_order_no, p.amount, coalesce(p.paid_at, e.ended) as at,
           case when p.paid_type = 'MCH' or p.paid_type = '' and p.transaction_id is null then 'elsewhere' else coalesce(e.paid_by, 'unknown') end as whose,
           e.state = 'paid' and row_number() over (partition by e.mchid, e.out_order_no order by coalesce(p.paid_at, e.ended) desc, p.seq desc nulls last) = 1 as last
    from ended e
    join payments p on p.mchid = e.mchid and p.out_order_no = e.out_order_no
),
sums as (
    select e.*, coalesce(p.fen, 0) as fen
    from ended e
    left join (select mchid, out_order_no, sum(amount) as fen from incoming group by mchid, out_order_no) p
      on p.mchid = e.mchid and p.out_order_no = e.out_order_no
)
select mchid, 'attempts' as by, least(attempts, 10)::text as value, count(*) as orders, round(sum(owed) / 100.0, 2) as yuan,
       count(*) filter (where state = 'paid') as paid_orders, round(sum(fen) / 100.0, 2) as paid_yuan
from sums group by mchid, value
union all
select mchid, 'first_decline', cause, count(*), round(sum(owed) / 100.0, 2), count(*) filter (where state = 'paid'), round(sum(fen) / 100.0, 2)
from sums group by mchid, cause
union all
select mchid, 'hour', extract(hour from at at time zone 'Asia/Shanghai')::text, 0, 0, count(*) filter (where last), round(sum(amount) / 100.0, 2)
from incoming group by mchid, extract(hour from at at time zone 'Asia/Shanghai')
union all
select mchid, 'paid_by', whose, 0, 0, count(*) filter (where last), round(sum(amount) / 100.0, 2)
from incoming group by mchid, whose
order by mchid, by, value;
