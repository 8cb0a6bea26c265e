-- What a host said is in force is written down by the server that heard it, for the others: sealed, so that nobody else can
-- write it. A row of before has no seal, and counts as not heard of.
alter table host add column in_force_seal bytea;
