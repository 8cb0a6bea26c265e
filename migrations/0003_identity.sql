-- Who is calling: persons, passkeys, links, sessions, and the transactions by which they come into being.
-- Text that is compared or sorted here is collated "C". Secrets are stored as SHA-256 only.

-- A row is never deleted: an identity, once used, is never given to a second person.
create table person (
  identity text collate "C" primary key,
  administrator boolean not null,
  state text not null check (state in ('active', 'disabled')),
  -- WebAuthn's user handle: random, so that an authenticator learns nothing of the person by it.
  user_handle bytea not null unique check (length(user_handle) = 64),
  created_at timestamptz not null,
  last_login_at timestamptz
);

create table passkey (
  id text collate "C" primary key,
  person text collate "C" not null references person (identity),
  name text not null,
  credential_id bytea not null constraint passkey_credential unique check (length(credential_id) between 1 and 1023),
  -- COSE_Key.
  public_key bytea not null,
  counter bigint not null check (counter >= 0),
  transports jsonb not null,
  -- Whether it may be, and whether it is, kept by a provider on several devices.
  synced boolean not null,
  backed_up boolean not null,
  created_at timestamptz not null,
  last_used_at timestamptz
);
create index passkey_person on passkey (person);

-- Fixed when the first passkey is made: passkeys work with this RP ID alone.
create table relying_party (
  singleton boolean primary key default true check (singleton),
  rp_id text not null,
  origin text not null,
  fixed_at timestamptz not null
);

create table enrolment_link (
  id text collate "C" primary key,
  secret_hash bytea not null unique check (length(secret_hash) = 32),
  kind text not null check (kind in ('administrator', 'invitation')),
  -- The link of a server that has no administrator yet.
  is_first boolean not null,
  -- A proposal, unless fixed.
  identity text not null,
  identity_fixed boolean not null,
  administrator boolean not null,
  created_by text not null,
  created_at timestamptz not null,
  ends_at timestamptz not null,
  used_at timestamptz,
  used_by text
);

create table person_session (
  id text collate "C" primary key,
  kind text not null check (kind in ('machine', 'browser')),
  person text collate "C" not null references person (identity),
  device text not null,
  -- Of a browser's cookie.
  cookie_hash bytea unique check (length(cookie_hash) = 32),
  ssh_key bytea,
  client_spki bytea,
  started_at timestamptz not null,
  ends_at timestamptz not null,
  asserted_at timestamptz not null,
  -- Of a browser: it ends when it is idle.
  used_at timestamptz not null,
  ended_at timestamptz,
  check (case kind when 'machine' then ssh_key is not null and client_spki is not null and cookie_hash is null
    else ssh_key is null and client_spki is null and cookie_hash is not null end)
);
create index person_session_person on person_session (person) where ended_at is null;
create index person_session_end on person_session (ends_at);

create table login_transaction (
  id text collate "C" primary key,
  kind text not null check (kind in ('loopback', 'device')),
  state text not null check (state in ('waiting', 'confirmed', 'refused', 'redeemed')),
  ssh_key bytea not null,
  client_spki bytea not null,
  -- Seconds.
  lifetime integer not null check (lifetime > 0),
  device text not null,
  -- The address that it was begun from.
  started_from text not null,
  -- The challenge of the proof of possession: one use.
  proof text collate "C" not null constraint login_transaction_proof unique,
  redirect_uri text,
  code_challenge text,
  oauth_state text,
  user_code_hash bytea unique,
  device_code_hash bytea,
  -- Seconds between polls, and the last one.
  poll_interval integer not null,
  polled_at timestamptz,
  -- WebAuthn ceremonies that were begun.
  attempts integer not null default 0,
  created_at timestamptz not null,
  ends_at timestamptz not null,
  -- From consent on.
  person text collate "C" references person (identity),
  asserted_at timestamptz,
  asserted_from text,
  -- What an auditor checks the assertion with.
  assertion jsonb,
  code_hash bytea,
  code_ends_at timestamptz
);
create index login_transaction_person on login_transaction (person) where state = 'confirmed';
create index login_transaction_end on login_transaction (ends_at);

create table action_transaction (
  id text collate "C" primary key,
  session text collate "C" not null references person_session (id) on delete cascade,
  action text not null,
  target text not null,
  asked_from text not null,
  state text not null check (state in ('waiting', 'confirmed', 'refused')),
  attempts integer not null default 0,
  created_at timestamptz not null,
  ends_at timestamptz not null
);
create index action_transaction_session on action_transaction (session);
create index action_transaction_end on action_transaction (ends_at);

-- Deleted at its first use. `subject`: the transaction, link or session that it is for.
create table webauthn_challenge (
  challenge bytea primary key check (length(challenge) = 32),
  purpose text not null check (purpose in ('enrolment', 'passkey', 'sign-in', 'login', 'action')),
  subject text collate "C" not null,
  nonce bytea not null,
  -- Of a registration: for whom, and the user handle that the authenticator was given.
  identity text,
  user_handle bytea,
  ends_at timestamptz not null
);
create index webauthn_challenge_subject on webauthn_challenge (purpose, subject);
create index webauthn_challenge_end on webauthn_challenge (ends_at);

-- Keys of the server itself, wrapped by the keystore's master key; several servers share them.
create table server_secret (
  name text collate "C" primary key,
  wrapped bytea not null,
  created_at timestamptz not null
);

-- What servers have to forget: `person:…` or `session:…`. They read it each second, since a notification may be lost.
create table identity_change (
  id bigint generated always as identity primary key,
  subject text collate "C" not null,
  -- By the database's clock, the same for all servers.
  at timestamptz not null default clock_timestamp()
);
create index identity_change_at on identity_change (at);

grant select, insert, update on person, enrolment_link to keyman_runtime;
grant select, insert, update, delete on passkey, person_session, login_transaction, action_transaction to keyman_runtime;
grant select, insert, delete on webauthn_challenge, identity_change to keyman_runtime;
grant select, insert on relying_party, server_secret to keyman_runtime;
