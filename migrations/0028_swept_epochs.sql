-- The number of a session is of no use once the session is forgotten, long after its end (`identity/records/session-records.ts`): no decision
-- was made by it that could still come. Until now they all stayed.
grant delete on access_epoch to keyman_runtime;
delete from access_epoch e where e.subject like 'session:%'
  and not exists (select from person_session s where 'session:' || s.id = e.subject);
