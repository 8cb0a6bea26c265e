-- Who does the work that one server does for all. Ends are by the database's clock. Whoever takes it over takes the next fence; a write of
-- such work takes the row FOR SHARE with the fence that it was begun under, so that one that was begun before comes to nothing.
create table lease (
  name text collate "C" primary key,
  -- A process, and no more than a name.
  holder text collate "C" not null,
  fence bigint not null check (fence > 0),
  ends_at timestamptz not null
);
grant select, insert, update on lease to keyman_runtime;
