-- What did not agree between the ledger and WeChat Pay's bill in the last 31 days whose books were closed, newest day
-- first. A day without a row here agrees, if the table books has it.
select b.mchid,
       b.date as day,
       e.kind,
       e.out_order_no,
       e.transaction_id,
       round(e.bill_amount / 100.0, 2) as bill_yuan,
       round(e.ledger_amount / 100.0, 2) as ledger_yuan,
       e.detail
from books b
join book_exceptions e using (mchid, date)
where e.kind <> 'refunded'
  and b.date > (select max(newest.date) from books newest where newest.mchid = b.mchid) - 31
order by b.mchid, day desc, e.n;
