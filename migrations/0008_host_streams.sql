-- Which stream of the host opened last: another server may notice late that an older one has ended.
alter table host add column stream_id text;
-- What the host said of itself when its stream opened.
alter table host add column agent_version text;
alter table host add column sshd_version text;
