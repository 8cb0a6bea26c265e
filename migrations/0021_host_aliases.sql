-- Further names that an administrator lists for a host: its certificates carry them. Like the name they count as far as the log says.
alter table host add column aliases jsonb not null default '[]';
