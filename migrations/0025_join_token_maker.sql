-- Who added the host, where that was a person: the token is good while they may still add it. It counts as far as the log says it. Null in
-- tokens of the operator's own command, and in those that were made before.
alter table join_token add column made_by text;
