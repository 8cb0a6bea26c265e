-- Projects and their environments, payments and payments/prod; and one grant for all that can be given: a login on hosts, as until
-- now, a role, or names for TLS certificates, which nothing gives yet. Text that is compared is collated "C".

create table place (
  name text collate "C" primary key check (name ~ '^[a-z][a-z0-9-]{0,38}(/[a-z][a-z0-9-]{0,38})?$'),
  created_at timestamptz not null,
  -- Of an environment its project: no environment outlives that.
  project text collate "C" generated always as (
    case when position('/' in name) > 0 then split_part(name, '/', 1) end
  ) stored references place (name)
);
grant select, insert, delete on place to keyman_runtime;

-- Of a host that was removed none: nothing is left in a place that it kept.
alter table host add column place text collate "C" references place (name);
create index host_place on host (place) where place is not null;

alter table access_grant
  add column kind text not null default 'login',
  -- The name of a role; what it may do stands in the program.
  add column role text,
  -- Where the role or the names hold, or in which place the hosts are; without one they hold in the whole organisation.
  add column place text collate "C" references place (name),
  -- Patterns of names that TLS certificates may have, what these certificates are for, and whether they may have wildcards.
  add column names jsonb,
  add column profile text,
  add column wildcards boolean,
  alter column login drop not null,
  alter column hosts drop not null,
  alter column options drop not null,
  alter column max_lifetime drop not null,
  add constraint access_grant_kind check (case kind
    when 'login' then login is not null and hosts is not null and options is not null and max_lifetime is not null
      and role is null and names is null and profile is null and wildcards is null
    when 'role' then role is not null and login is null and hosts is null and options is null and max_lifetime is null
      and names is null and profile is null and wildcards is null
    when 'names' then names is not null and profile is not null and wildcards is not null and max_lifetime is not null
      and role is null and login is null and hosts is null and options is null
    else false end);
-- Whom it is to, what it gives and where never changes.
grant update (ends_at, max_lifetime, options) on access_grant to keyman_runtime;
create index access_grant_place on access_grant (place) where place is not null;
