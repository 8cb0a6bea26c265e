-- Which client keys of a session were replaced a moment ago, and until when nobody is alarmed by one. By when it was renewed last it cannot be
-- told: whoever renews again and again would have every older key pass for one that was replaced at that moment.
alter table workload add column replaced jsonb not null default '[]';
