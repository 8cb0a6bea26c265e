-- Who was let in by the sshd of a host, as the host has told it. The audit log holds the same; these rows are how a list of them is made, and
-- nothing is decided by them. Text that is compared is collated "C".

create table host_login (
  -- As it was called then: whoever has the name has a record of its own.
  host text collate "C" not null,
  -- The host's own record of what happened, which another one begins anew, and the number of the event in it.
  record text collate "C" not null,
  number bigint not null check (number > 0),
  login text collate "C" not null,
  method text not null,
  -- Fingerprint of the key, and of a certificate what sshd's log says of it.
  key text,
  key_id text,
  serial text,
  authority text,
  -- Whose certificate it is by the key ID: a person's identity or a workload's principal.
  subject text collate "C",
  -- Whether the audit log holds the record by which it was signed; null where it is no certificate of ours.
  recorded boolean,
  address text not null,
  port integer not null check (port between 1 and 65535),
  opened_at timestamptz not null,
  closed_at timestamptz,
  -- The number of the order by which the host ended it: the version of the revocation list that was made with it.
  ended_by text,
  primary key (host, record, number)
);
create index host_login_opened on host_login (opened_at);
create index host_login_host on host_login (host, opened_at);
create index host_login_subject on host_login (subject, opened_at) where subject is not null;
create index host_login_ended on host_login (ended_by) where ended_by is not null;

-- How far each host has told: what comes twice is passed over.
create table host_login_told (
  host text collate "C" primary key,
  record text collate "C" not null,
  number bigint not null
);

-- Old ones are forgotten here, never in the log.
grant select, insert, delete, update (closed_at, ended_by) on host_login to keyman_runtime;
grant select, insert, update (record, number) on host_login_told to keyman_runtime;

-- Whether the agent said, when it last connected, that it sees who is logged in: only such a host ends sessions.
alter table host add column sees_logins boolean not null default false;
