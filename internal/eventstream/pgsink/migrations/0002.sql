-- Every payment of an order, one a row, and what billing says of the order.

alter table events
    add column payments       jsonb,
    add column billing_amount bigint,
    add column owed_since     timestamptz;

alter table orders
    add column billing_amount bigint,
    add column owed_since     timestamptz;

create table payments (
    mchid          text        not null,
    payment_key    text        not null,
    out_order_no   text        not null,
    transaction_id text,
    seq            bigint,
    amount         bigint      not null,
    paid_type      text        not null,
    paid_at        timestamptz,
    learnt_at      timestamptz not null,
    derived        boolean     not null,
    primary key (mchid, payment_key)
);

create index payments_of_order on payments (mchid, out_order_no);
create index payments_by_time on payments (paid_at);
create index payments_by_learning on payments (learnt_at);

-- Events of earlier releases list no payments, but what was paid so far, and the
-- transaction_id of the last payment. derived.sql does the same for those that
-- are still to come out of Redis.
insert into payments (mchid, payment_key, out_order_no, transaction_id, amount, paid_type, paid_at, learnt_at, derived)
select mchid, key, out_order_no, min(transaction_id), sum(rise), min(paid_type), min(at), min(at), true
from (
    select *, coalesce(transaction_id, out_order_no || '#' || at_place) as key
    from (
        select mchid, out_order_no, at, paid_type, rise,
               at_place, case when paid_type = 'MCH' then null else transaction_id end as transaction_id
        from (
            select mchid, out_order_no, at, coalesce(paid_type, '') as paid_type, nullif(transaction_id, '') as transaction_id,
                   row_number() over in_turn as at_place,
                   paid_amount - coalesce(max(paid_amount) over (in_turn rows between unbounded preceding and 1 preceding), 0) as rise
            from events
            where paid_amount > 0
            window in_turn as (partition by mchid, out_order_no order by at, n)
        ) told
        where rise > 0
    ) risen
) named
group by mchid, key, out_order_no
on conflict do nothing;

comment on column events.payments is 'The payments of the order that WeChat Pay has signed so far, as JSON; null in events of releases that did not list them.';
comment on column events.billing_amount is 'What billing says that the order comes to, in fen (1/100 yuan). WeChat Pay has not signed it.';
comment on column events.owed_since is 'Since when the order is owed, as billing says.';
comment on column events.transaction_id is 'WeChat Pay''s number of the latest payment. An order can have several payments: see the table payments.';
comment on column events.paid_type is 'How the latest payment came in. NEWTON: through PayScore. MCH: elsewhere, as the merchant has told WeChat Pay. An order can have payments of both: see the table payments.';
comment on column events.paid_amount is 'What has been paid of it so far, all payments together, in fen (1/100 yuan); null as long as WeChat Pay has not said.';
comment on column orders.billing_amount is 'What billing says that the order comes to, in fen (1/100 yuan). WeChat Pay has not signed it.';
comment on column orders.owed_since is 'Since when the order is owed, as billing says.';
comment on column orders.transaction_id is 'WeChat Pay''s number of the latest payment. An order can have several payments: see the table payments.';
comment on column orders.paid_type is 'How the latest payment came in. NEWTON: through PayScore. MCH: elsewhere, as the merchant has told WeChat Pay. An order can have payments of both: see the table payments.';
comment on column orders.paid_amount is 'What has been paid of it so far, all payments together, in fen (1/100 yuan); null as long as WeChat Pay has not said.';

comment on table payments is 'Every payment of PayScore orders that WeChat Pay has signed, one a row: book each once, by its key. Written by payscore-collector (outcomes sink postgres).';
comment on column payments.mchid is 'WeChat Pay merchant number.';
comment on column payments.payment_key is 'Names the payment within mchid: its transaction_id, or, where it has none, out_order_no#seq.';
comment on column payments.out_order_no is 'The merchant''s order number, unique within mchid.';
comment on column payments.transaction_id is 'WeChat Pay''s number of the payment, which refunds and the trade bill go by; null where the money came in elsewhere.';
comment on column payments.seq is 'The place of the payment among those of its order; null where derived.';
comment on column payments.amount is 'In fen (1/100 yuan).';
comment on column payments.paid_type is 'NEWTON: through PayScore. MCH: elsewhere, as the merchant has told WeChat Pay, which moved no money.';
comment on column payments.paid_at is 'When the user paid, as WeChat Pay says, to the second; where derived, when it was learnt.';
comment on column payments.learnt_at is 'When the first event with this payment happened, by the clock of Redis.';
comment on column payments.derived is 'True where no event lists the payment, because an earlier release wrote them: the amount is what the order''s paid amount rose by, and can be that of several payments, of which only the last one''s transaction_id is known.';
