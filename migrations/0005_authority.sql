-- Authority keys, serials, revocation and trust bundles. Private keys are in the keystore; here are public ones.

create table authority_key (
  -- The label in the keystore.
  label text collate "C" primary key,
  purpose text not null check (purpose in ('ssh-user', 'ssh-host', 'machines')),
  state text not null check (state in ('active', 'standby', 'retired')),
  -- DER SubjectPublicKeyInfo.
  spki bytea not null,
  -- ssh-user: the canary certificate, one line. machines: the root certificate, PEM.
  certificate text,
  incarnation text not null,
  created_at timestamptz not null,
  check ((purpose = 'ssh-host') = (certificate is null))
);
create unique index authority_key_active on authority_key (purpose) where state = 'active';

-- The next serial that nobody has reserved. A new incarnation begins far above what a lost history may have given.
create table serial_block (
  authority text collate "C" not null references authority_key (label),
  incarnation text not null,
  next bigint not null check (next > 0),
  primary key (authority, incarnation)
);

-- One row: the KRL's version. Its lock is what makes versions and contents go forward together.
create table krl_state (
  singleton boolean primary key default true check (singleton),
  version bigint not null,
  at timestamptz not null
);
insert into krl_state (version, at) values (1, date_trunc('second', now()));

create table revocation (
  id text collate "C" primary key,
  target text not null,
  reason text,
  certificates integer not null,
  sessions integer not null,
  krl_version bigint not null,
  at timestamptz not null,
  by_actor text not null
);
create table revoked_certificate (
  authority text collate "C" not null references authority_key (label),
  serial bigint not null check (serial > 0),
  key_id text not null,
  -- Seconds since 1970; null: for ever (the canary).
  until bigint,
  revocation text collate "C" references revocation (id),
  primary key (authority, serial)
);
-- Keys that are never to be certified again, nor accepted by hosts. `SHA256:…`
create table revoked_key (
  fingerprint text collate "C" primary key,
  revocation text collate "C" not null references revocation (id)
);

create table trust_bundle (
  version integer primary key,
  document text not null,
  -- Armored SSHSIGs.
  signatures jsonb not null,
  -- The first one, and each that changed the roots: without these a chain can't be followed.
  changes_roots boolean not null,
  published_at timestamptz not null
);

grant select, insert, update on authority_key, serial_block to keyman_runtime;
grant select, update on krl_state to keyman_runtime;
grant select, insert on revocation, revoked_key, trust_bundle to keyman_runtime;
grant select, insert, delete on revoked_certificate to keyman_runtime;
