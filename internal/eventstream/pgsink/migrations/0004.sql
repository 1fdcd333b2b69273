-- Every other action of the trail, beside the withdrawals and reopenings, which come with
-- their events.

alter table actions
    alter column out_order_no drop not null,
    add column detail text;

comment on table actions is 'The trail: who has changed what, and why, an action a row. Written by payscore-collector (outcomes sink postgres).';
comment on column actions.event_id is 'The id of the event that a withdrawal or a reopening caused; of any other action trail- and its id in outcomes audit.';
comment on column actions.out_order_no is 'The merchant''s order number, unique within mchid. Null for what concerns no single order.';
comment on column actions.action is 'withdraw, reopen, collect-now, pause, resume, bulk, retry-webhooks, replay-webhooks or destroy-reader.';
comment on column actions.detail is 'What it was done with or to, such as how long a pause lasts, or a reader.';
