-- What did not come in, by reason, with WeChat Pay's last word against the order and what it means. What billing has
-- withdrawn is in waived-by-day.sql. Where WeChat Pay has signed no total, billing's amount counts.
with words (code, meaning) as (values
    ('271316574', 'the deduction failed: balance, card or risk control'),
    ('271300099', 'WeChat Pay''s risk control refuses the user'),
    ('271299627', 'the user has other overdue orders'),
    ('268560785', 'the user''s WeChat is in teen mode'),
    ('271316656', 'refused: the amount is above the risk amount'),
    ('271316598', 'refused: WeChat Pay has this number with other parameters'),
    ('271316657', 'refused: it does not wait for payment'),
    ('271302262', 'refused: its state does not allow it'),
    ('271302332', 'refused: still to be confirmed or completed'),
    ('271302333', 'refused: it is cancelled'),
    ('271317510', 'WeChat Pay knows no such order'),
    ('268435464', 'a parameter is out of range'),
    ('PARAM_ERROR', 'the order''s data are malformed'),
    ('INVALID_REQUEST', 'refused: against one of WeChat Pay''s rules'),
    ('INVALID_ORDER_STATE', 'refused: its state does not allow it'),
    ('ORDER_DONE', 'refused: it is finished, says an error'),
    ('ORDER_CANCELED', 'refused: it is cancelled, says an error'),
    ('TRADE_ERROR', 'the deduction failed: balance, card or risk control'),
    ('ORDER_NOT_EXIST', 'WeChat Pay knows no such order'),
    ('REVOKED', 'the merchant cancelled it'),
    ('EXPIRED', 'the user never confirmed it'),
    ('not_confirmed', 'the user has not confirmed it'),
    ('not_completed', 'the merchant has not completed it'),
    ('nothing_owed', 'it is finished, and nothing was owed'),
    ('wrong_appid_or_service_id', 'it exists under another appid or service_id'),
    ('gave_up', 'GIVE_UP_AFTER has passed')
)
select o.mchid, o.state, o.reason, w.code, w.detail_code,
       coalesce(ended.meaning || case when said.meaning <> ended.meaning then '; ' || said.meaning else '' end, said.meaning) as words,
       count(*) as orders,
       coalesce(round(sum(coalesce(o.total_amount, o.billing_amount) - coalesce(o.paid_amount, 0)) / 100.0, 2), 0) as yuan
from orders o
left join lateral (
    select code, detail_code from events e
    where e.mchid = o.mchid and e.out_order_no = o.out_order_no
      and e.verdict in ('declined', 'not_collectable', 'not_found', 'bad_request')
    order by e.at desc, e.n desc limit 1
) w on true
left join words ended on ended.code = o.reason
left join lateral (
    select meaning from words where words.code in (w.detail_code, w.code) order by words.code = w.detail_code desc limit 1
) said on true
where (o.state in ('closed', 'rejected', 'exhausted') or o.state = 'awaiting' and w.code is not null)
  -- A payment after the end settles an order only where it is the whole of what was owed.
  and (o.late_payment_at is null or coalesce(o.total_amount, o.billing_amount) > coalesce(o.paid_amount, 0))
group by o.mchid, o.state, o.reason, w.code, w.detail_code, words
order by o.mchid, orders desc, o.state, o.reason, w.code, w.detail_code;
