-- Of each purpose there is one standby key, too: two servers that start together do not make two.
create unique index authority_key_standby on authority_key (purpose) where state = 'standby';
