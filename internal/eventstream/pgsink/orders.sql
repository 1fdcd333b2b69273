-- Brings orders up to date: the newest event of an order is the order. An older
-- one that comes later changes nothing. Sorted as in events.sql.
--
-- The events of an order that is known since the same moment are in the order of
-- their seq: after a failover of Redis to a node whose clock is behind, a later
-- event can have an earlier time. Others are in the order of their time.
--
-- $1, … id, type, at, n and then the columns of the events, as arrays; n is the place
-- within the millisecond
insert into orders as o ({columns}, last_event_id, updated_at, updated_n)
select distinct on (mchid, out_order_no) {values}, id, at, n
from unnest({arrays}) as e (id, type, at, n, {columns})
order by mchid, out_order_no, state = 'paid' desc, opened_at desc nulls last, seq desc nulls last, at desc, n desc
on conflict (mchid, out_order_no) do update set
    {updates}, last_event_id = excluded.last_event_id, updated_at = excluded.updated_at, updated_n = excluded.updated_n
where case
    -- Nothing undoes paid. What comes after it is of an order that had left the
    -- ledger and was enqueued again.
    when (excluded.state = 'paid') <> (o.state = 'paid') then excluded.state = 'paid'
    when excluded.opened_at = o.opened_at and excluded.seq <> o.seq then excluded.seq > o.seq
    else (excluded.updated_at, excluded.updated_n) > (o.updated_at, o.updated_n)
end
