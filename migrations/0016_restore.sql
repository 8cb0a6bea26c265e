-- `keyman-server restore` takes a history up anew by the role that the server itself has. A row that somebody else wrote is
-- nothing: the sealed log has to say the same.
grant insert on incarnation to keyman_runtime;
