-- What came in, by the day on which the user paid, whatever became of the order: each payment once.
-- yuan came through PayScore; elsewhere_yuan came in elsewhere, as the merchant has told WeChat Pay.
-- of_withdrawn_yuan is the part of both that orders brought which billing has withdrawn.
select p.mchid,
       (coalesce(p.paid_at, p.learnt_at) at time zone 'Asia/Shanghai')::date as day,
       count(distinct p.out_order_no) as orders,
       count(*) as payments,
       coalesce(round(sum(p.amount) filter (where p.paid_type <> 'MCH') / 100.0, 2), 0) as yuan,
       coalesce(round(sum(p.amount) filter (where p.paid_type = 'MCH') / 100.0, 2), 0) as elsewhere_yuan,
       coalesce(round(sum(p.amount) filter (where o.state = 'withdrawn') / 100.0, 2), 0) as of_withdrawn_yuan
from payments p
left join orders o on o.mchid = p.mchid and o.out_order_no = p.out_order_no
group by p.mchid, day
order by p.mchid, day desc;
