-- Writes events, those that are not there already. Sorted, so that two instances
-- which write the same ones wait for each other, and do not block each other.
--
-- $1 JSON array of events, each with n, its place within the millisecond
insert into events ({columns})
select {columns} from jsonb_to_recordset($1::jsonb) as e ({types})
order by id
on conflict (id) do nothing
