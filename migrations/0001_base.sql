-- The runtime role reads and writes rows; it owns nothing, so it can neither change a table nor what is granted on it.
-- Roles belong to the whole cluster: an operator may have created this one beforehand.
do $$
begin
  if not exists (select from pg_roles where rolname = 'keyman_runtime') then
    create role keyman_runtime nologin;
  end if;
end
$$;

-- The identity of this database's history. A restored backup takes a new number and id; the highest number is in force.
create table incarnation (
  number integer primary key,
  id text not null unique,
  taken_at timestamptz not null default now()
);
insert into incarnation (number, id) values (1, gen_random_uuid()::text);

grant select on incarnation, schema_migration to keyman_runtime;
