-- A workload that was removed is in no place any more, which may be removed after it.
alter table workload alter column place drop not null;
update workload set place = null where removed_at is not null;
alter table workload add constraint workload_has_place check (place is not null or removed_at is not null);
