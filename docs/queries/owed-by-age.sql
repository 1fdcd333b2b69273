-- What is still owed, by how long ago the order was handed over.
select mchid,
       case when opened_at > now() - interval '1 day'   then 'up to 1 day'
            when opened_at > now() - interval '7 days'  then '1 to 7 days'
            when opened_at > now() - interval '30 days' then '7 to 30 days'
            else 'over 30 days' end as age,
       count(*) as orders,
       count(*) - count(total_amount) as of_unknown_amount,
       coalesce(round(sum(total_amount - coalesce(paid_amount, 0)) / 100.0, 2), 0) as owed_yuan
from orders
where state in ('queued', 'awaiting', 'exhausted') and late_payment_at is null
group by mchid, age
order by mchid, max(opened_at) desc nulls last;
