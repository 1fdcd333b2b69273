-- What is still owed, by the age of the debt: since when it is owed, as billing says, or else since it was enqueued.
-- owed_yuan is what WeChat Pay has signed; said_by_billing_yuan is of orders of which WeChat Pay has signed no total.
select mchid,
       case when since > now() - interval '1 day'   then 'up to 1 day'
            when since > now() - interval '7 days'  then '1 to 7 days'
            when since > now() - interval '30 days' then '7 to 30 days'
            else 'over 30 days' end as age,
       count(*) as orders,
       coalesce(round(sum(total_amount - paid) / 100.0, 2), 0) as owed_yuan,
       coalesce(round(sum(billing_amount - paid) filter (where total_amount is null) / 100.0, 2), 0) as said_by_billing_yuan,
       count(*) filter (where total_amount is null and billing_amount is null) as of_unknown_amount
from (
    select mchid, coalesce(owed_since, opened_at) as since, total_amount, billing_amount, coalesce(paid_amount, 0) as paid
    from orders
    where state in ('queued', 'awaiting', 'exhausted')
) o
where coalesce(total_amount, billing_amount) is null or coalesce(total_amount, billing_amount) > paid
group by mchid, age
order by mchid, max(since) desc nulls last;
