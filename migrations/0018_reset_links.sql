-- A link with which a person who is here makes a new passkey: `keyman person reset`. A server of before can not read it, and
-- takes it for no link.
alter table enrolment_link drop constraint enrolment_link_kind_check;
alter table enrolment_link add constraint enrolment_link_kind_check check (kind in ('administrator', 'invitation', 'reset'));
