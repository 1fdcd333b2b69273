-- Writes who has withdrawn or reopened orders, once for each event. Sorted as in
-- events.sql.
--
-- $1 JSON array of events
insert into actions (event_id, at, mchid, out_order_no, by, action, reason)
select id, at, mchid, out_order_no, by, case type when 'order.reopened' then 'reopen' else 'withdraw' end, reason
from jsonb_to_recordset($1::jsonb) as e (id text, type text, at timestamptz, mchid text, out_order_no text, by text, reason text)
where by is not null and type in ('order.withdrawn', 'order.reopened')
order by id
on conflict (event_id) do nothing
