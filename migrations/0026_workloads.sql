-- Workloads: named machine identities of a project or an environment, and the one session that each may have. Text that is compared is
-- collated "C".

create table workload (
  id text collate "C" primary key,
  -- With the place in it: payments/prod/backup.
  name text collate "C" not null,
  -- Which must not be removed while it is there; one that was removed is in none any more.
  place text collate "C" references place (name),
  -- Seconds, of a session that is not renewed, and of any session.
  idle integer not null check (idle > 0),
  lifetime integer not null check (lifetime > 0),
  created_at timestamptz not null,
  created_by text not null,
  removed_at timestamptz,
  -- Of its session: the SSH key is the session's, the client key (SubjectPublicKeyInfo) is another after each renewal.
  session text collate "C",
  ssh_key bytea,
  client_spki bytea,
  joined_at timestamptz,
  renewed_at timestamptz,
  renewed_from text,
  -- Client keys that were replaced a moment ago, and until when nobody is alarmed by each.
  replaced jsonb not null default '[]',
  -- Why the last one ended, for people to read.
  ended text,
  constraint workload_has_place check (place is not null or removed_at is not null),
  constraint workload_session check (
    (session is null) = (ssh_key is null) and (session is null) = (client_spki is null)
    and (session is null) = (joined_at is null) and (session is null) = (renewed_at is null)
  )
);
create unique index workload_living_name on workload (name) where removed_at is null;
create index workload_place on workload (place);

-- Single use, stored as SHA-256 of the secret.
create table workload_token (
  hash bytea primary key check (length(hash) = 32),
  workload text collate "C" not null references workload (id),
  created_at timestamptz not null,
  ends_at timestamptz not null,
  used_at timestamptz,
  -- Who made it, where that was a person: it is good while they may still make it.
  made_by text,
  -- Of a workload that was there: whoever comes with it gets all that this was given.
  again boolean not null
);
create index workload_token_workload on workload_token (workload);

grant select, insert, update on workload, workload_token to keyman_runtime;
