-- Writes actions of the trail that are no events, once each.
--
-- $1, … the columns, as arrays
insert into actions (event_id, at, mchid, out_order_no, by, action, reason, detail)
select 'trail-' || id, at, mchid, nullif(no, ''), by, action, nullif(reason, ''), nullif(detail, '')
from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
    as e (id, at, mchid, no, by, action, reason, detail)
order by id collate "C"
on conflict (event_id) do nothing
