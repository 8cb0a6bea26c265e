-- Where a session began, for whoever looks at the list of them. It lets nobody in. Null in sessions that began before.
alter table person_session add column started_from text;
