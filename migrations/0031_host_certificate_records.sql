-- Whoever takes a host out looks for the certificates of it that were recorded, among whatever else a host has recorded: a million logins, too.
create index ledger_record_host_certificate on ledger_record (actor, index) where kind = 'ssh-host-certificate';
