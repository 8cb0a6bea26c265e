-- Hosts: which there are, how they join, and what each has in force. Text that is compared is collated "C".

create table host (
  id text collate "C" primary key,
  name text collate "C" not null,
  labels jsonb not null,
  port integer not null check (port between 1 and 65535),
  -- Where clients reach it if the name does not resolve.
  address text,
  created_at timestamptz not null,
  joined_at timestamptz,
  removed_at timestamptz,
  -- SubjectPublicKeyInfo of the client key, from join on. A certificate counts for this key only.
  client_spki bytea,
  -- The desired state's number goes forward when the content does; SHA-256 of the content tells.
  revision bigint not null default 0 check (revision >= 0),
  content_hash bytea,
  krl_version bigint not null default 0,
  -- What the host said is written, read back and checked.
  in_force bigint not null default 0 check (in_force >= 0),
  in_force_krl bigint not null default 0,
  connected boolean not null default false,
  last_seen_at timestamptz,
  -- What the host said last when something failed, and for which revision.
  message text,
  failed_revision bigint
);
-- A living host's name is never given to a second, nor is its key.
create unique index host_living_name on host (name) where removed_at is null;
create unique index host_living_key on host (client_spki) where removed_at is null and client_spki is not null;
create index host_name on host (name);

-- Single use, stored as SHA-256 of the secret.
create table join_token (
  hash bytea primary key check (length(hash) = 32),
  host text collate "C" not null references host (id),
  created_at timestamptz not null,
  ends_at timestamptz not null,
  used_at timestamptz
);

-- Goes forward with each host added, joined or removed: servers look at this number each second, since a notification
-- may be lost.
create table host_change (
  singleton boolean primary key default true check (singleton),
  version bigint not null
);
insert into host_change (version) values (0);

grant select, insert, update on host, join_token to keyman_runtime;
grant select, update on host_change to keyman_runtime;
