-- The ledger: what was done, in one order, append-only for the runtime role.
-- Text that is compared or sorted here is collated "C": bytes, the same in every database and in Node.

-- One row: how many records there are. Its lock is held for the end of the writing statement only, and gives contiguous
-- indices in the order of commits (a sequence would leave gaps and commit out of order).
create table ledger_head (
  singleton boolean primary key default true check (singleton),
  size bigint not null check (size >= 0)
);
insert into ledger_head (size) values (0);

create table ledger_record (
  index bigint primary key check (index >= 0),
  -- A request may be recorded once with each kind; `part` counts the records of one kind that one request writes at once.
  request_id text collate "C" not null,
  kind text collate "C" not null,
  part integer not null default 0,
  actor text collate "C" not null,
  at timestamptz not null,
  -- Canonical JSON; its UTF-8 bytes are the leaf of the tree.
  record text not null,
  -- The challenge whose use this record is: a second use is refused by the statement that would write it.
  proof text collate "C",
  constraint ledger_record_request unique (request_id, kind, part)
);
create unique index ledger_record_proof on ledger_record (proof) where proof is not null;
create index ledger_record_actor on ledger_record (actor, index);

-- What revoking has to find. Derived from the records; here only so that it can be searched.
create table issued_certificate (
  authority text collate "C" not null,
  -- Up to 159 bits for X.509.
  serial numeric(49, 0) not null check (serial > 0),
  key_id text collate "C" not null,
  subject_key text collate "C" not null,
  person text collate "C",
  session text collate "C",
  host text collate "C",
  valid_after bigint not null,
  valid_before bigint not null,
  record bigint not null,
  constraint issued_certificate_serial primary key (authority, serial)
);
create index issued_certificate_person on issued_certificate (person, valid_before) where person is not null;
create index issued_certificate_session on issued_certificate (session) where session is not null;
create index issued_certificate_host on issued_certificate (host, valid_before) where host is not null;
create index issued_certificate_key_id on issued_certificate (key_id);
create index issued_certificate_subject_key on issued_certificate (subject_key);

-- The number of a person, session, host …, bumped by whatever changes what it may do.
create table access_epoch (
  subject text collate "C" primary key,
  epoch bigint not null check (epoch > 0)
);

-- The Merkle tree over the records (RFC 9162), in tiles of up to 256 hashes of 32 bytes (C2SP tlog-tiles). A tile grows at its end only.
create table ledger_tile (
  level integer not null check (level >= 0),
  index bigint not null check (index >= 0),
  hashes bytea not null check (length(hashes) % 32 = 0 and length(hashes) between 32 and 8192),
  primary key (level, index)
);
-- How far the tree has come. Compared and set in one statement with the tiles, which fences two sequencers.
create table ledger_tree (
  singleton boolean primary key default true check (singleton),
  size bigint not null check (size >= 0)
);
insert into ledger_tree (size) values (0);
-- Signed tree heads (C2SP tlog-checkpoint), one for a size.
create table ledger_checkpoint (
  size bigint primary key check (size >= 0),
  note text not null,
  at timestamptz not null
);

grant select, update on ledger_head, ledger_tree to keyman_runtime;
grant select, insert on ledger_record, issued_certificate, ledger_checkpoint to keyman_runtime;
-- Taking a row FOR SHARE needs the right to update it.
grant select, insert, update on access_epoch, ledger_tile to keyman_runtime;
