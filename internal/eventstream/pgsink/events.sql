-- Writes events, those that are not there already. Sorted as in copyEvents, so that two
-- instances which write the same ones wait for each other, and do not block each other.
--
-- $1, … the columns of the events, as arrays; n is the place within the millisecond
insert into events ({columns})
select {columns} from unnest({arrays}) as e ({columns})
order by id collate "C"
on conflict (id) do nothing
