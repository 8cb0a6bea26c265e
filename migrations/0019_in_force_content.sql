-- The digest of what a host said it has in force, under the same seal: so that of a change which revokes nothing, a grant that was
-- taken away, it can be said where it is in force. A row of before has none, and counts as not heard of.
alter table host add column in_force_hash bytea;
