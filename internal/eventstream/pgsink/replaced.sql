-- Takes out the payments that better ones have replaced: those that were derived
-- from events without a list, once an event with a list has come, and one without a
-- transaction_id, once the same payment has got one.
--
-- $1 JSON array of events, each with parts, its payments
delete from payments p
using (
    select distinct mchid, out_order_no
    from jsonb_to_recordset($1::jsonb) as e (mchid text, out_order_no text, parts jsonb)
    where parts is not null
) e
where p.mchid = e.mchid and p.out_order_no = e.out_order_no
  and (p.derived or p.transaction_id is null and exists (
      select from payments better
      where better.mchid = p.mchid and better.out_order_no = p.out_order_no and better.transaction_id is not null
        and better.seq = p.seq and better.paid_type = p.paid_type and better.amount = p.amount))
