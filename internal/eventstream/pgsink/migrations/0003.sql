-- Who has withdrawn or reopened an order, and why.

alter table events
    add column by text;

create table actions (
    event_id     text        not null primary key,
    at           timestamptz not null,
    mchid        text        not null,
    out_order_no text        not null,
    by           text        not null,
    action       text        not null,
    reason       text
);

create index actions_of_order on actions (mchid, out_order_no, at);
create index actions_by_time on actions (at);

comment on column events.by is 'Who withdrew or reopened the order: api:NAME, console:NAME, cli:USER or go:PROGRAM. Null in other events, and in those of earlier releases.';
comment on column events.reason is 'Why the order ended so: a word of payscore-collector''s or of WeChat Pay''s, or billing''s own words for withdrawn. Of order.reopened, why it was reopened.';

comment on table actions is 'Who has withdrawn or reopened PayScore orders, an action a row. The trail of all actions is in Redis (outcomes audit). Written by payscore-collector (outcomes sink postgres).';
comment on column actions.event_id is 'The id of the event that the action caused.';
comment on column actions.at is 'When it happened, by the clock of Redis, to the millisecond.';
comment on column actions.mchid is 'WeChat Pay merchant number.';
comment on column actions.out_order_no is 'The merchant''s order number, unique within mchid.';
comment on column actions.by is 'Who did it: api:NAME, console:NAME, cli:USER or go:PROGRAM.';
comment on column actions.action is 'withdraw or reopen.';
comment on column actions.reason is 'Why, in their own words.';
