-- Writes the exceptions of a day, $3 as JSON, in their order.
insert into book_exceptions (mchid, date, n, kind, out_order_no, order_id, transaction_id,
    bill_amount, ledger_amount, state, detail, other_transaction_ids, refund)
select $1, $2::text::date, n, e ->> 'kind', e ->> 'out_order_no', e ->> 'order_id', e ->> 'transaction_id',
    (e ->> 'bill_amount')::bigint, (e ->> 'ledger_amount')::bigint, e ->> 'state', e ->> 'detail',
    array(select jsonb_array_elements_text(e -> 'other_transaction_ids')), e -> 'refund'
from jsonb_array_elements($3::text::jsonb) with ordinality as listed (e, n)
