-- What billing has withdrawn, by the day, as far as it was not paid. waived_yuan was withdrawn without a time of
-- payment; elsewhere_yuan was paid elsewhere, as billing says and WeChat Pay has not signed yet. Where WeChat Pay has
-- signed no total, billing's amount counts.
select mchid,
       (ended_at at time zone 'Asia/Shanghai')::date as day,
       reason,
       count(*) as orders,
       coalesce(round(sum(rest) filter (where sync is null) / 100.0, 2), 0) as waived_yuan,
       coalesce(round(sum(rest) filter (where sync is not null) / 100.0, 2), 0) as elsewhere_yuan,
       count(*) - count(rest) as of_unknown_amount
from (
    select *, coalesce(total_amount, billing_amount) - coalesce(paid_amount, 0) as rest
    from orders
    where state = 'withdrawn'
) o
where rest is null or rest > 0
group by mchid, day, reason
order by mchid, day desc, orders desc, reason;
