-- Writes who has withdrawn or reopened orders, once for each event. Sorted as in
-- events.sql.
--
-- $1, … the columns of those events, as arrays
insert into actions (event_id, at, mchid, out_order_no, by, action, reason)
select id, at, mchid, out_order_no, by, case type when 'order.reopened' then 'reopen' else 'withdraw' end, reason
from unnest({arrays}) as e ({columns})
where type in ('order.withdrawn', 'order.reopened')
order by id collate "C"
on conflict (event_id) do nothing
