-- Roles that an organisation makes itself. What a role that is built in may do stands in the program. Text that is compared is collated "C".

create table role (
  name text collate "C" primary key check (name ~ '^[a-z][a-z0-9-]{0,38}$'),
  -- What it is given for.
  "of" text not null check ("of" in ('organisation', 'place')),
  -- Names of actions, in the order of the program's catalogue when it was made or changed last.
  actions jsonb not null,
  created_at timestamptz not null,
  created_by text not null
);
-- Its name and what it is given for never change.
grant select, insert, delete, update (actions) on role to keyman_runtime;
