-- What came in, by the day on which it was learnt. paid_type MCH: paid elsewhere, and WeChat Pay moved no money.
select mchid,
       (coalesce(late_payment_at, ended_at) at time zone 'Asia/Shanghai')::date as day,
       count(*) as orders,
       coalesce(round(sum(paid_amount) filter (where paid_type is distinct from 'MCH') / 100.0, 2), 0) as yuan,
       coalesce(round(sum(paid_amount) filter (where paid_type = 'MCH') / 100.0, 2), 0) as elsewhere_yuan
from orders
where state = 'paid' or late_payment_at is not null
group by mchid, day
order by mchid, day desc;
