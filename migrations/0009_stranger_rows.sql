-- By whom a login was begun, for the bound of how many anybody may have under way: an address, or a /64 of IPv6. Null in what an
-- earlier release wrote, which ends within minutes.
alter table login_transaction add column begun_by text collate "C";
create index login_transaction_begun_by on login_transaction (begun_by, created_at);
