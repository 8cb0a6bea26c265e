-- What a host finds in its own configuration beside KeyMan's, told with what it has in force: accounts that are locked, keys that
-- still let in. For people to read; nothing is decided by it. A row of before has none.
alter table host add column findings jsonb;
