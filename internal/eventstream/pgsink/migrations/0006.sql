-- Whose doing a payment was.

alter table events
    add column paid_by text;

alter table orders
    add column paid_by text;

comment on column events.paid_by is 'Whose doing the last payment through PayScore was: collect, after our collect call; user, by the user or the platform itself. Null where nothing came in through PayScore, and in events of earlier releases.';
comment on column orders.paid_by is 'Whose doing the last payment through PayScore was: collect, after our collect call; user, by the user or the platform itself. Null where nothing came in through PayScore, and in orders that an earlier release has ended.';
