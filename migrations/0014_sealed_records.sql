-- HMAC-SHA256 of the server over a record and its columns: a row that somebody else wrote has none that fits. Null only in
-- what an earlier release wrote, which is taken over as a whole by one sealed record (`log-adopted`).
alter table ledger_record add column seal bytea check (length(seal) = 32);
