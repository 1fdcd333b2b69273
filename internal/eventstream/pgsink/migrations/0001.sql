-- What happened to orders, and where each stands. The columns have the names of
-- the events' JSON.

create table events (
    id              text        not null primary key,
    type            text        not null,
    at              timestamptz not null,
    n               bigint      not null,
    mchid           text        not null,
    out_order_no    text        not null,
    seq             bigint,
    state           text        not null,
    reason          text,
    appid           text,
    service_id      text,
    order_id        text,
    transaction_id  text,
    paid_type       text,
    total_amount    bigint,
    paid_amount     bigint,
    attempts        bigint      not null,
    opened_at       timestamptz,
    ended_at        timestamptz,
    late_payment_at timestamptz,
    sync            text,
    call            text,
    verdict         text,
    code            text,
    detail_code     text,
    stored_at       timestamptz not null default now()
);

create index events_of_order on events (mchid, out_order_no, at, n);
create index events_by_time on events (at);

create table orders (
    mchid           text        not null,
    out_order_no    text        not null,
    state           text        not null,
    reason          text,
    appid           text,
    service_id      text,
    order_id        text,
    transaction_id  text,
    paid_type       text,
    total_amount    bigint,
    paid_amount     bigint,
    attempts        bigint      not null,
    opened_at       timestamptz,
    ended_at        timestamptz,
    late_payment_at timestamptz,
    sync            text,
    seq             bigint,
    last_event_id   text        not null,
    updated_at      timestamptz not null,
    updated_n       bigint      not null,
    primary key (mchid, out_order_no)
);

create index orders_by_state on orders (state, opened_at);
create index orders_by_end on orders (ended_at);
create index orders_by_update on orders (updated_at);
create index orders_by_transaction on orders (transaction_id) where transaction_id is not null;

comment on table events is 'What happened to PayScore orders, an event a row, never changed. Written by payscore-collector (outcomes sink postgres).';
comment on column events.id is 'Unique: <mchid>-<ms>-<n>.';
comment on column events.type is 'order.opened, order.attempted, order.paid, order.closed, order.rejected, order.withdrawn, order.exhausted or order.reopened. order.paid with another end as its state is a payment that came after that end.';
comment on column events.at is 'When it happened, by the clock of Redis, to the millisecond.';
comment on column events.n is 'The place within the millisecond: (at, n) is the order of a merchant''s events.';
comment on column events.mchid is 'WeChat Pay merchant number.';
comment on column events.out_order_no is 'The merchant''s order number, unique within mchid.';
comment on column events.seq is 'Counts the events of an order from 1 on, without a gap; begins anew where the order was handed over again after RETENTION. Null in events of version 0.1.';
comment on column events.state is 'Where the order stood after it: queued, awaiting (both open), paid, closed, rejected, withdrawn, exhausted.';
comment on column events.reason is 'Why the order ended so: a word of payscore-collector''s or of WeChat Pay''s, or billing''s own words for withdrawn.';
comment on column events.appid is 'The appid of the order.';
comment on column events.service_id is 'The PayScore service of the order.';
comment on column events.order_id is 'WeChat Pay''s number of the order.';
comment on column events.transaction_id is 'WeChat Pay''s number of the payment, which refunds and the trade bill go by.';
comment on column events.paid_type is 'NEWTON: paid through PayScore. MCH: the merchant told WeChat Pay that it was paid elsewhere, and WeChat Pay moved no money.';
comment on column events.total_amount is 'What the order comes to, in fen (1/100 yuan); null as long as WeChat Pay has not said.';
comment on column events.paid_amount is 'What has been paid of it so far, in fen (1/100 yuan); null as long as WeChat Pay has not said.';
comment on column events.attempts is 'Collect calls so far that were answered about the order itself.';
comment on column events.opened_at is 'When the order was first handed over. Null in events of version 0.1.';
comment on column events.ended_at is 'When the order reached its end; null while it is open.';
comment on column events.late_payment_at is 'When a payment was learnt of an order that had ended otherwise.';
comment on column events.sync is 'Of withdrawn orders that were paid elsewhere, how far WeChat Pay was told so: pending, done, failed, not_needed.';
comment on column events.call is 'The call that the event came from: collect, query, sync or notification.';
comment on column events.verdict is 'What that call came to.';
comment on column events.code is 'WeChat Pay''s error code of that call.';
comment on column events.detail_code is 'WeChat Pay''s finer code of that call.';
comment on column events.stored_at is 'When this row was written, by the clock of PostgreSQL.';

comment on table orders is 'The latest state of each PayScore order, as its newest event says. Written by payscore-collector (outcomes sink postgres).';
comment on column orders.mchid is 'WeChat Pay merchant number.';
comment on column orders.out_order_no is 'The merchant''s order number, unique within mchid.';
comment on column orders.state is 'queued, awaiting (both open), paid, closed, rejected, withdrawn, exhausted.';
comment on column orders.reason is 'Why the order ended so: a word of payscore-collector''s or of WeChat Pay''s, or billing''s own words for withdrawn.';
comment on column orders.appid is 'The appid of the order.';
comment on column orders.service_id is 'The PayScore service of the order.';
comment on column orders.order_id is 'WeChat Pay''s number of the order.';
comment on column orders.transaction_id is 'WeChat Pay''s number of the payment, which refunds and the trade bill go by.';
comment on column orders.paid_type is 'NEWTON: paid through PayScore. MCH: the merchant told WeChat Pay that it was paid elsewhere, and WeChat Pay moved no money.';
comment on column orders.total_amount is 'What the order comes to, in fen (1/100 yuan); null as long as WeChat Pay has not said.';
comment on column orders.paid_amount is 'What has been paid of it so far, in fen (1/100 yuan); null as long as WeChat Pay has not said.';
comment on column orders.attempts is 'Collect calls so far that were answered about the order itself.';
comment on column orders.opened_at is 'When the order was first handed over. Null where version 0.1 wrote its newest event.';
comment on column orders.ended_at is 'When the order reached its end, as far as this software has learnt; null while it is open.';
comment on column orders.late_payment_at is 'When a payment was learnt of an order that had ended otherwise.';
comment on column orders.sync is 'Of withdrawn orders that were paid elsewhere, how far WeChat Pay was told so: pending, done, failed, not_needed.';
comment on column orders.seq is 'The seq of its newest event.';
comment on column orders.last_event_id is 'The id of its newest event.';
comment on column orders.updated_at is 'When its newest event happened, by the clock of Redis, to the millisecond.';
comment on column orders.updated_n is 'The place of its newest event within the millisecond.';
