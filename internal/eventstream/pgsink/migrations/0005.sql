-- The books: what came of comparing each day with WeChat Pay's trade bill.

create table books (
    mchid               text        not null,
    date                date        not null,
    closed_at           timestamptz not null,
    event_id            text        not null,
    bill_rows           bigint      not null,
    bill_payscore_rows  bigint      not null,
    bill_amount         bigint      not null,
    bill_sha1           text,
    ledger_orders       bigint      not null,
    ledger_amount       bigint      not null,
    matched_orders      bigint      not null,
    matched_amount      bigint      not null,
    waiting_orders      bigint      not null,
    waiting_amount      bigint      not null,
    exceptions          bigint      not null,
    refunds             bigint      not null,
    exceptions_left_out bigint      not null,
    primary key (mchid, date)
);

create table book_exceptions (
    mchid                 text   not null,
    date                  date   not null,
    n                     bigint not null,
    kind                  text   not null,
    out_order_no          text,
    order_id              text,
    transaction_id        text,
    bill_amount           bigint,
    ledger_amount         bigint,
    state                 text,
    detail                text   not null,
    other_transaction_ids text[] not null,
    refund                jsonb,
    primary key (mchid, date, n)
);

create index book_exceptions_of_order on book_exceptions (mchid, out_order_no);

comment on table books is 'What came of comparing each day''s payments with WeChat Pay''s trade bill, a day a row, as of the last comparison with another result. Written by payscore-collector (outcomes sink postgres).';
comment on column books.mchid is 'WeChat Pay merchant number.';
comment on column books.date is 'The day, in Shanghai.';
comment on column books.closed_at is 'When the day was compared, by the clock of Redis.';
comment on column books.event_id is 'The id of the event books.closed that this row came with.';
comment on column books.bill_rows is 'Rows of the bill.';
comment on column books.bill_payscore_rows is 'Payments and refunds of PayScore orders in the bill.';
comment on column books.bill_amount is 'What those payments come to, in fen (1/100 yuan).';
comment on column books.bill_sha1 is 'SHA1 of the uncompressed bill; null for a day without transactions.';
comment on column books.ledger_orders is 'Orders with a payment of the day that WeChat Pay has signed, without payments elsewhere (MCH).';
comment on column books.ledger_amount is 'What those payments come to, in fen (1/100 yuan).';
comment on column books.matched_orders is 'Orders of which a bill has the payments with the same amounts.';
comment on column books.matched_amount is 'What those payments come to, in fen (1/100 yuan).';
comment on column books.waiting_orders is 'Payments around midnight that may be in a neighbouring day''s bill, which could not be had yet.';
comment on column books.waiting_amount is 'What those payments come to, in fen (1/100 yuan).';
comment on column books.exceptions is 'How many things do not agree; 0 where all agrees.';
comment on column books.refunds is 'How many refunds the bill has, which are information.';
comment on column books.exceptions_left_out is 'How many of the exceptions are too many to be listed in book_exceptions.';

comment on table book_exceptions is 'What does not agree between the ledger and WeChat Pay''s trade bill, an exception a row, as of the last comparison of the day. Written by payscore-collector (outcomes sink postgres).';
comment on column book_exceptions.mchid is 'WeChat Pay merchant number.';
comment on column book_exceptions.date is 'The day, in Shanghai.';
comment on column book_exceptions.n is 'The place of the exception in the day''s list.';
comment on column book_exceptions.kind is 'paid_twice, amount_differs, paid_in_bill_only, paid_in_ledger_only, unknown_order or refunded; refunded is information.';
comment on column book_exceptions.out_order_no is 'The merchant''s order number, unique within mchid.';
comment on column book_exceptions.order_id is 'WeChat Pay''s number of the order.';
comment on column book_exceptions.transaction_id is 'WeChat Pay''s number of the payment.';
comment on column book_exceptions.bill_amount is 'What the bill says, in fen (1/100 yuan); of a refund, what was refunded.';
comment on column book_exceptions.ledger_amount is 'What WeChat Pay has signed, in fen (1/100 yuan).';
comment on column book_exceptions.state is 'The order''s state when the day was compared; null where the ledger does not have it.';
comment on column book_exceptions.detail is 'What does not agree, in words.';
comment on column book_exceptions.other_transaction_ids is 'Of paid_twice: the order''s other payments.';
comment on column book_exceptions.refund is 'Of paid_twice: the body of POST /v3/refund/domestic/refunds that would mend it. Nothing here sends it.';
