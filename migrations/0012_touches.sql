-- A touch is for one request: what it was shown as, what it is, and what it came to. Rows of the last release have none of it and
-- confirm nothing any more; its servers write them still, so `target` stays, and is empty from now on.
alter table action_transaction alter column target set default '';
-- JSON of [name, value], as the page shows it.
alter table action_transaction add column shown text;
-- SHA-256 of the request.
alter table action_transaction add column request bytea check (length(request) = 32);
-- From its use on: the request that it was used by, and that one's answer, sealed by a key of the server, for whoever asks again.
alter table action_transaction add column used_by text;
alter table action_transaction add column answer bytea;
alter table action_transaction drop constraint action_transaction_state_check;
alter table action_transaction
  add constraint action_transaction_state_check check (state in ('waiting', 'confirmed', 'refused', 'used'));

-- A mandate: a session may administer without a touch for each change, until it ends. Ended by its session's end, too.
create table mandate (
  id text collate "C" primary key,
  session text collate "C" not null references person_session (id) on delete cascade,
  begun_at timestamptz not null,
  ends_at timestamptz not null,
  ended_at timestamptz
);
create index mandate_session on mandate (session);
grant select, insert, update on mandate to keyman_runtime;
