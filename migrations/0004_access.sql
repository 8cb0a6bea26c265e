-- Teams and grants. Text that is compared or sorted here is collated "C".

-- A team is there as soon as it had a member, and stays when the last one leaves.
create table team (
  name text collate "C" primary key,
  created_at timestamptz not null
);
create table team_member (
  team text collate "C" not null references team (name),
  person text collate "C" not null,
  primary key (team, person)
);
create index team_member_person on team_member (person);

create table access_grant (
  id text collate "C" primary key,
  -- A person's identity or team:NAME.
  who text collate "C" not null,
  login text not null,
  -- { "host": NAME } or { "labels": { … } }, and the options; checked by the API's schemas when read.
  hosts jsonb not null,
  options jsonb not null,
  -- Seconds.
  max_lifetime integer not null check (max_lifetime > 0),
  ends_at timestamptz,
  created_at timestamptz not null,
  created_by text not null
);

grant select, insert on team to keyman_runtime;
grant select, insert, delete on team_member, access_grant to keyman_runtime;
