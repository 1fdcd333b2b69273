-- Takes out the payments that better ones have replaced: those that were derived
-- from events without a list, once an event with a list has come, and one without a
-- transaction_id, once the same payment has got one.
--
-- $1, $2 merchant and order of each payment that the events list, as arrays
delete from payments p
using (
    select distinct mchid, out_order_no
    from unnest($1::text[], $2::text[]) as e (mchid, out_order_no)
) e
where p.mchid = e.mchid and p.out_order_no = e.out_order_no
  and (p.derived or p.transaction_id is null and exists (
      select from payments better
      where better.mchid = p.mchid and better.out_order_no = p.out_order_no and better.transaction_id is not null
        and better.seq = p.seq and better.paid_type = p.paid_type and better.amount = p.amount))
