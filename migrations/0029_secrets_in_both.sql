-- The same secret, wrapped by the other keystore of two: either opens it, and the loss of one takes no secret along. Neither column is that of
-- one keystore: a start opens what it can, and puts what a keystore does not open where none did. Null where there is one keystore.
alter table server_secret add column wrapped_too bytea;
grant update (wrapped, wrapped_too) on server_secret to keyman_runtime;
