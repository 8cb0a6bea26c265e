-- The passkey by which a session was signed in, or that was touched in it last: what is done in the session needs that this one
-- is there still. Null in sessions that began before there was this column: any passkey of the person.
alter table person_session add column passkey text collate "C";
