-- What did not come in, by reason, with the last word of WeChat Pay's against the order.
select o.mchid, o.state, o.reason, w.code, w.detail_code,
       count(*) as orders,
       coalesce(round(sum(o.total_amount - coalesce(o.paid_amount, 0)) / 100.0, 2), 0) as yuan
from orders o
left join lateral (
    select code, detail_code from events e
    where e.mchid = o.mchid and e.out_order_no = o.out_order_no
      and e.verdict in ('declined', 'not_collectable', 'not_found', 'bad_request')
    order by e.at desc, e.n desc limit 1
) w on true
where o.late_payment_at is null
  and (o.state in ('closed', 'rejected', 'exhausted') or o.state = 'awaiting' and w.code is not null)
group by o.mchid, o.state, o.reason, w.code, w.detail_code
order by o.mchid, orders desc, o.state, o.reason, w.code, w.detail_code;
