--
-- PostgreSQL database dump
--

\restrict b1KydHme66iR4Tp0kyhYbQ4bFBqxcqNyfINSDTSg1eZh5u8OlcoyNYFu9RE6JGi

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Data for Name: access_epoch; Type: TABLE DATA; Schema: public; Owner: -
--

SET SESSION AUTHORIZATION DEFAULT;

ALTER TABLE public.access_epoch DISABLE TRIGGER ALL;

INSERT INTO public.access_epoch (subject, epoch) VALUES ('session:session_d2a2a5j2qks3gvzc', 1);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('session:session_bcdejulusnh46467', 1);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('session:session_yc366f3e3wwwht26', 1);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('session:session_ahhck6uxcfv76udo', 1);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('session:session_d3ayipsovwvuu2im', 1);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('session:session_kmayrn6fdf7ayw6a', 1);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('person:carol@example.com', 3);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('team:sre', 3);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('person:bob@example.com', 4);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('host:web1.keyman.localhost', 1);
INSERT INTO public.access_epoch (subject, epoch) VALUES ('person:alice@example.com', 3);


ALTER TABLE public.access_epoch ENABLE TRIGGER ALL;

--
-- Data for Name: access_grant; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.access_grant DISABLE TRIGGER ALL;

INSERT INTO public.access_grant (id, who, login, hosts, options, max_lifetime, ends_at, created_at, created_by) VALUES ('grant_gtDCLU61RnZZ9Eoy', 'team:sre', 'deploy', '{"labels": {"env": "prod"}}', '{"pty": true, "sourceAddress": ["10.0.0.0/8"], "x11Forwarding": false, "portForwarding": true, "agentForwarding": false}', 28800, NULL, '2026-11-29 11:51:50.976+00', 'operator');
INSERT INTO public.access_grant (id, who, login, hosts, options, max_lifetime, ends_at, created_at, created_by) VALUES ('grant_OkK1gtX5i-3AfjTm', 'alice@example.com', 'root', '{"host": "web1.keyman.localhost"}', '{"pty": true, "x11Forwarding": false, "portForwarding": true, "agentForwarding": false}', 3600, NULL, '2026-11-29 11:51:51+00', 'operator');


ALTER TABLE public.access_grant ENABLE TRIGGER ALL;

--
-- Data for Name: person; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.person DISABLE TRIGGER ALL;

INSERT INTO public.person (identity, administrator, state, user_handle, created_at, last_login_at) VALUES ('alice@example.com', true, 'active', '\xb466efe840ef196184dcbb748382865dd3ade7a4e37fa4db471b222ca702c803f9708f0db75547bad0a92c86ac6dc49cef82e534b2afd9d606ac8c391f6dabb6', '2026-11-29 11:51:50.85+00', '2026-11-29 11:51:50.88+00');
INSERT INTO public.person (identity, administrator, state, user_handle, created_at, last_login_at) VALUES ('bob@example.com', false, 'active', '\x5521eba81c2cf7a57533adda6e31edc7240023175129757abe944a97c37ac8347110bf4247e0e4fc03263206d746dc4ad45ac6d87ed3c15e703b4999dde97f21', '2026-11-29 11:51:50.896+00', '2026-11-29 11:51:50.914+00');
INSERT INTO public.person (identity, administrator, state, user_handle, created_at, last_login_at) VALUES ('carol@example.com', false, 'disabled', '\x830ba167a2d94d2bef481c8df9ed5d10dfad8b460366ad57d66e0804138ad526c201bdf4ec8c864ff8c19f90694fa02a7cf1b95ceb5578dca07642db73eb3bef', '2026-11-29 11:51:50.933+00', '2026-11-29 11:51:50.948+00');


ALTER TABLE public.person ENABLE TRIGGER ALL;

--
-- Data for Name: person_session; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.person_session DISABLE TRIGGER ALL;

INSERT INTO public.person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey, started_from) VALUES ('session_d2a2a5j2qks3gvzc', 'browser', 'alice@example.com', 'browser', '\xac32a10adfd6ce4d274c4be723dfe6a8cb8ef8cc8384e8f6da2f9ebc2be78d73', NULL, NULL, '2026-11-29 11:51:50.852+00', '2026-11-29 23:51:50.852+00', '2026-11-29 11:51:50.852+00', '2026-11-29 11:51:50.852+00', NULL, 'passkey_WE1qJTMIWtYCAvL4dHeqAQ', '192.0.2.7');
INSERT INTO public.person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey, started_from) VALUES ('session_bcdejulusnh46467', 'browser', 'alice@example.com', 'browser', '\xcf438e1459357eee2c6d269da718999deac62ddefdbb166fb0ff874c7431e3e4', NULL, NULL, '2026-11-29 11:51:50.88+00', '2026-11-29 23:51:50.88+00', '2026-11-29 11:51:50.88+00', '2026-11-29 11:51:50.88+00', NULL, 'passkey_WE1qJTMIWtYCAvL4dHeqAQ', '192.0.2.7');
INSERT INTO public.person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey, started_from) VALUES ('session_yc366f3e3wwwht26', 'browser', 'bob@example.com', 'browser', '\xf544b10a567aadc8c7f8b57e3803e1ce76509067e2ff567e6534a7a7fce0094a', NULL, NULL, '2026-11-29 11:51:50.898+00', '2026-11-29 23:51:50.898+00', '2026-11-29 11:51:50.898+00', '2026-11-29 11:51:50.898+00', NULL, 'passkey_clm_H5bxr4qrlxbq2oBHWg', '192.0.2.7');
INSERT INTO public.person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey, started_from) VALUES ('session_ahhck6uxcfv76udo', 'browser', 'bob@example.com', 'browser', '\x413a8096a9fa7a2d3d4d5d9bfaca07b2e5ca7e56ff5d0bbb4b7b05f6b7c77b4f', NULL, NULL, '2026-11-29 11:51:50.914+00', '2026-11-29 23:51:50.914+00', '2026-11-29 11:51:50.914+00', '2026-11-29 11:51:50.914+00', NULL, 'passkey_clm_H5bxr4qrlxbq2oBHWg', '192.0.2.7');
INSERT INTO public.person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey, started_from) VALUES ('session_d3ayipsovwvuu2im', 'browser', 'carol@example.com', 'browser', '\x669430419608dfb9a7ffa64cf102b2734dadcaf97ad165f30de16ecff37a0dcb', NULL, NULL, '2026-11-29 11:51:50.935+00', '2026-11-29 23:51:50.935+00', '2026-11-29 11:51:50.935+00', '2026-11-29 11:51:50.935+00', '2026-11-29 11:51:50.959+00', 'passkey_Pv7zrvKo8L7i6AJSk8UWFg', '192.0.2.7');
INSERT INTO public.person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey, started_from) VALUES ('session_kmayrn6fdf7ayw6a', 'browser', 'carol@example.com', 'browser', '\xa2e1a963464db5639916f3072f0bc8978cfe00a340831c2c5f6cb126cdccc3a5', NULL, NULL, '2026-11-29 11:51:50.948+00', '2026-11-29 23:51:50.948+00', '2026-11-29 11:51:50.948+00', '2026-11-29 11:51:50.948+00', '2026-11-29 11:51:50.959+00', 'passkey_Pv7zrvKo8L7i6AJSk8UWFg', '192.0.2.7');


ALTER TABLE public.person_session ENABLE TRIGGER ALL;

--
-- Data for Name: action_transaction; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.action_transaction DISABLE TRIGGER ALL;



ALTER TABLE public.action_transaction ENABLE TRIGGER ALL;

--
-- Data for Name: authority_key; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.authority_key DISABLE TRIGGER ALL;

INSERT INTO public.authority_key (label, purpose, state, spki, certificate, incarnation, created_at) VALUES ('ssh-user-1', 'ssh-user', 'active', '\x302a300506032b6570032100fa51f999b0fd6596c6cf13f7fc6bb337c3f262a8b6e5d389b6e8168e1ed90649', 'ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIIbFTff5nQIe2zIQcHgfOf4EXyfNSQ9u+0qe36CnkSyLAAAAIM+8yo7MHziscM1/KPNAaI+XqcVW/1WFAmCUH/C3jz51AAAAAAAAAAEAAAABAAAADWNhbmFyeTprZXltYW4AAAARAAAADWNhbmFyeTprZXltYW4AAAAAawwR1gAAAABrDBISAAAAAAAAAAAAAAAAAAAAMwAAAAtzc2gtZWQyNTUxOQAAACD6UfmZsP1llsbPE/f8a7M3w/JiqLbl04m26BaOHtkGSQAAAFMAAAALc3NoLWVkMjU1MTkAAABAS1TDll7EjYFT/QgmBRRsvEX0Rv/5rza0lm0A6aQjgrWw724+JCpEGSDRrMvGHJ27aofIil3c2JzhTb3YUSvHAA==', 'caa6a265-be2c-4bb4-b419-628641ee080d', '2026-11-29 11:51:50.774+00');
INSERT INTO public.authority_key (label, purpose, state, spki, certificate, incarnation, created_at) VALUES ('ssh-host-1', 'ssh-host', 'active', '\x302a300506032b6570032100afbc1b0b8b63450f95fa8cb566e17f85d01411ced4636abef75a215aeba7dbc2', NULL, 'caa6a265-be2c-4bb4-b419-628641ee080d', '2026-11-29 11:51:50.782+00');
INSERT INTO public.authority_key (label, purpose, state, spki, certificate, incarnation, created_at) VALUES ('machines-1', 'machines', 'active', '\x3059301306072a8648ce3d020106082a8648ce3d0301070342000436fea1b12e5266a5bfd636c3ef857e61f86217c266be91f5fa38d597ff05497cfbc8c30c0376466c260ffbad097d2383c830174178ca549f3a7a637c18a5b842', '-----BEGIN CERTIFICATE-----
MIIBrjCCAVSgAwIBAgIUIMcqCrXlN+baN+H8Q7tc0qA9y+cwCgYIKoZIzj0EAwIw
IzEhMB8GA1UEAwwYS2V5TWFuIG1hY2hpbmUgYXV0aG9yaXR5MB4XDTI2MTEyOTEx
NTA1MFoXDTM2MTEyNjExNTE1MFowIzEhMB8GA1UEAwwYS2V5TWFuIG1hY2hpbmUg
YXV0aG9yaXR5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENv6hsS5SZqW/1jbD
74V+YfhiF8JmvpH1+jjVl/8FSXz7yMMMA3ZGbCYP+60JfSODyDAXQXjKVJ86emN8
GKW4QqNmMGQwEgYDVR0TAQH/BAgwBgEB/wIBADAOBgNVHQ8BAf8EBAMCAQYwHQYD
VR0OBBYEFBdvrmllQFvi4e5ZvAo0LtHKvxaFMB8GA1UdIwQYMBaAFBdvrmllQFvi
4e5ZvAo0LtHKvxaFMAoGCCqGSM49BAMCA0gAMEUCIH2MOjcjuva82ytuPVbVyXiF
quxrJpqUncUK1PCMqVyRAiEAotgyjQutk+RZn1ri6TXqGKKG9ZScocndmGDD0kYg
JFM=
-----END CERTIFICATE-----
', 'caa6a265-be2c-4bb4-b419-628641ee080d', '2026-11-29 11:51:50.788+00');


ALTER TABLE public.authority_key ENABLE TRIGGER ALL;

--
-- Data for Name: enrolment_link; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.enrolment_link DISABLE TRIGGER ALL;

INSERT INTO public.enrolment_link (id, secret_hash, kind, is_first, identity, identity_fixed, administrator, created_by, created_at, ends_at, used_at, used_by) VALUES ('link_OksTae3bPegbO8224w4X3g', '\x37537a4395bc678dd3a19af79ab63bea16c43041861a58d62b616c70b2608a01', 'invitation', false, 'alice@example.com', true, true, 'operator', '2026-11-29 11:51:50.83+00', '2026-11-29 12:51:50.83+00', '2026-11-29 11:51:50.85+00', 'alice@example.com');
INSERT INTO public.enrolment_link (id, secret_hash, kind, is_first, identity, identity_fixed, administrator, created_by, created_at, ends_at, used_at, used_by) VALUES ('link_8FvrhsThtP-c0mZlArufOQ', '\x5f4b938889989736dad3e2f936f7f884b7b49b5d1291b35bc11d900296c94a07', 'invitation', false, 'bob@example.com', true, false, 'operator', '2026-11-29 11:51:50.888+00', '2026-11-29 12:51:50.888+00', '2026-11-29 11:51:50.896+00', 'bob@example.com');
INSERT INTO public.enrolment_link (id, secret_hash, kind, is_first, identity, identity_fixed, administrator, created_by, created_at, ends_at, used_at, used_by) VALUES ('link_tBtDB1SDSkrPieZcYogwKg', '\x62021e3af7eab0da856a671154a85ab15a0ad4478f74673844db81e942d85aa3', 'invitation', false, 'carol@example.com', true, false, 'operator', '2026-11-29 11:51:50.924+00', '2026-11-29 12:51:50.924+00', '2026-11-29 11:51:50.933+00', 'carol@example.com');


ALTER TABLE public.enrolment_link ENABLE TRIGGER ALL;

--
-- Data for Name: host; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.host DISABLE TRIGGER ALL;

INSERT INTO public.host (id, name, labels, port, address, created_at, joined_at, removed_at, client_spki, revision, content_hash, krl_version, in_force, in_force_krl, connected, last_seen_at, message, failed_revision, stream_id, agent_version, sshd_version, in_force_seal, in_force_hash, findings, aliases) VALUES ('host_upJ5qrwYlEtsdmJEBiboeQ', 'web1.keyman.localhost', '{"env": "prod"}', 22, NULL, '2026-11-29 11:51:50.99+00', NULL, NULL, NULL, 0, NULL, 0, 0, 0, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '["www.keyman.localhost"]');


ALTER TABLE public.host ENABLE TRIGGER ALL;

--
-- Data for Name: host_change; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.host_change DISABLE TRIGGER ALL;

INSERT INTO public.host_change (singleton, version) VALUES (true, 1);


ALTER TABLE public.host_change ENABLE TRIGGER ALL;

--
-- Data for Name: identity_change; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.identity_change DISABLE TRIGGER ALL;

INSERT INTO public.identity_change (id, subject, at) OVERRIDING SYSTEM VALUE VALUES (1, 'person:alice@example.com', '2026-11-29 11:51:50.853671+00');
INSERT INTO public.identity_change (id, subject, at) OVERRIDING SYSTEM VALUE VALUES (2, 'person:bob@example.com', '2026-11-29 11:51:50.898576+00');
INSERT INTO public.identity_change (id, subject, at) OVERRIDING SYSTEM VALUE VALUES (3, 'person:carol@example.com', '2026-11-29 11:51:50.936001+00');
INSERT INTO public.identity_change (id, subject, at) OVERRIDING SYSTEM VALUE VALUES (4, 'person:carol@example.com', '2026-11-29 11:51:50.960463+00');


ALTER TABLE public.identity_change ENABLE TRIGGER ALL;

--
-- Data for Name: incarnation; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.incarnation DISABLE TRIGGER ALL;

INSERT INTO public.incarnation (number, id, taken_at) VALUES (1, 'caa6a265-be2c-4bb4-b419-628641ee080d', '2026-11-29 11:51:50.647825+00');


ALTER TABLE public.incarnation ENABLE TRIGGER ALL;

--
-- Data for Name: issued_certificate; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.issued_certificate DISABLE TRIGGER ALL;

INSERT INTO public.issued_certificate (authority, serial, key_id, subject_key, person, session, host, valid_after, valid_before, record) VALUES ('ssh-user-1', 1, 'canary:keyman', 'SHA256:0BDk+XPeTBHpBvcX/D7mIIQxSB09Ob4I66rqqvzBjMY', NULL, NULL, NULL, 1795953110, 1795953170, 1);
INSERT INTO public.issued_certificate (authority, serial, key_id, subject_key, person, session, host, valid_after, valid_before, record) VALUES ('machines-1', 187129215321483698960585122755561885782714993639, 'machines:root', 'SHA256:mAnAe9YClwC1fxqORRylQtKVwhGpTgYEF/bxv4znvWU', NULL, NULL, NULL, 1795953050, 2111313111, 4);


ALTER TABLE public.issued_certificate ENABLE TRIGGER ALL;

--
-- Data for Name: join_token; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.join_token DISABLE TRIGGER ALL;

INSERT INTO public.join_token (hash, host, created_at, ends_at, used_at) VALUES ('\x1f23cee42768dfb5a448c3326c1baabf3c02330720c56914bfb823c0692494c0', 'host_upJ5qrwYlEtsdmJEBiboeQ', '2026-11-29 11:51:50.99+00', '2026-11-29 12:51:50.99+00', NULL);


ALTER TABLE public.join_token ENABLE TRIGGER ALL;

--
-- Data for Name: krl_state; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.krl_state DISABLE TRIGGER ALL;

INSERT INTO public.krl_state (singleton, version, at) VALUES (true, 2, '2026-11-29 11:51:50+00');


ALTER TABLE public.krl_state ENABLE TRIGGER ALL;

--
-- Data for Name: ledger_checkpoint; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.ledger_checkpoint DISABLE TRIGGER ALL;

INSERT INTO public.ledger_checkpoint (size, note, at) VALUES (6, 'acme/keyman-log
6
S5S6Zgz9paX8YEXZE98irzNXGNCk6/oIQgYIYSHVpkM=

— acme/keyman-log f5EZSkqHllVoyBXnqUVmHjz2LhSZjPqcdbo6uOkfG679zgfvtX15SlskvDlw2iy51lWlX0peJLL3eHhe+fvWG1ca1QA=
', '2026-11-29 11:51:50.83+00');
INSERT INTO public.ledger_checkpoint (size, note, at) VALUES (23, 'acme/keyman-log
23
5KL9G1CxaV1joa1WBPHDXBGPrGQE3xypikm6QXXl8HQ=

— acme/keyman-log f5EZSgboDgwapYt1xoSA/rUe6zWjsp2b0SeR8r4BxmAE1VFxhzX+tjQOFtoloI6sDVzP5hoap8eUjztMebIjK6OQdQc=
', '2026-11-29 11:51:51.834+00');


ALTER TABLE public.ledger_checkpoint ENABLE TRIGGER ALL;

--
-- Data for Name: ledger_head; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.ledger_head DISABLE TRIGGER ALL;

INSERT INTO public.ledger_head (singleton, size) VALUES (true, 23);


ALTER TABLE public.ledger_head ENABLE TRIGGER ALL;

--
-- Data for Name: ledger_record; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.ledger_record DISABLE TRIGGER ALL;

INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (0, 'req_3GY3iJDef9t1y1a3', 'authority-key-created', 0, 'server', '2026-11-29 11:51:50.764+00', '{"actor":{"kind":"server"},"at":"2026-11-29T11:51:50.764Z","details":{"algorithm":"ed25519","fingerprint":"SHA256:4ixhe1pTkHmiyu3EZ8iZMOW3M29sBdpBBTtdkGf/vXg","purpose":"ssh-user","state":"active"},"kind":"authority-key-created","requestId":"req_3GY3iJDef9t1y1a3","target":"ssh-user-1","version":1}', NULL, '\xcc8d525c0af193013393a45116822529d0f9f00d1368bfe829ad0dc8fd5a7015');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (1, 'req_3GY3iJDef9t1y1a3', 'canary', 0, 'server', '2026-11-29 11:51:50.771+00', '{"actor":{"kind":"server"},"at":"2026-11-29T11:51:50.771Z","certificate":{"authority":"ssh-user-1","bodyHash":"d425101c7da6524ab674ab1a8efea8774311b7834a6b1c5ba5749ec6dc2cd954","keyId":"canary:keyman","principals":["canary:keyman"],"serial":"1","subjectKey":"SHA256:0BDk+XPeTBHpBvcX/D7mIIQxSB09Ob4I66rqqvzBjMY","validAfter":"1795953110","validBefore":"1795953170"},"kind":"canary","requestId":"req_3GY3iJDef9t1y1a3","target":"ssh-user-1","version":1}', NULL, '\x3d44247c065af35ca8efa3759e3cca5d46a43b10b063829595051a8c1637b80f');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (2, 'req_3GY3iJDef9t1y1a3', 'revoked', 0, 'server', '2026-11-29 11:51:50.777+00', '{"actor":{"kind":"server"},"after":"2","at":"2026-11-29T11:51:50.777Z","details":{"authority":"ssh-user-1","serials":"1"},"facts":{"krl-version:2 1795953110":"Q8zE0A2mSJYaE9j1Kfgosbl-nOVQgYh0GiX7xAtGFAQ","revoked:ssh-user-1 1-1 ever":"W1CfY6TO-UYj5-GeqszgOpaH1l1c9_ITX3CO75vujhA"},"kind":"revoked","requestId":"req_3GY3iJDef9t1y1a3","root":"c077c2d1917b0237ff7549f427afaccf01b575f5f42da2d54cff08590b635229","target":"canary","version":1}', NULL, '\x99b1de45afbb262411e321f33942ba3ce3c6462ba844e396816e6ca9951e36a0');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (3, 'req_zyIqwtDSdPTRqw8s', 'authority-key-created', 0, 'server', '2026-11-29 11:51:50.781+00', '{"actor":{"kind":"server"},"at":"2026-11-29T11:51:50.781Z","details":{"algorithm":"ed25519","fingerprint":"SHA256:ADRMHotQ/8eP4uU2horl7ZahayOWc+l4BhZUN+zaNOg","purpose":"ssh-host","state":"active"},"kind":"authority-key-created","requestId":"req_zyIqwtDSdPTRqw8s","target":"ssh-host-1","version":1}', NULL, '\xd03da7d089ab9caa3966cb08e0a920c5a0a8667fb9b620060f732de8b42ad6d0');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (4, 'req_Q8EfDkrEdei0YTh5', 'authority-key-created', 0, 'server', '2026-11-29 11:51:50.786+00', '{"actor":{"kind":"server"},"at":"2026-11-29T11:51:50.786Z","certificate":{"authority":"machines-1","bodyHash":"ea93b70ff41e34f50aabf8e19ba408fbef2a0567c83b218dcfea0ebd3d7ecd6f","keyId":"machines:root","principals":[],"serial":"187129215321483698960585122755561885782714993639","subjectKey":"SHA256:mAnAe9YClwC1fxqORRylQtKVwhGpTgYEF/bxv4znvWU","validAfter":"1795953050","validBefore":"2111313111"},"details":{"algorithm":"ecdsa-p256","purpose":"machines","state":"active"},"kind":"authority-key-created","requestId":"req_Q8EfDkrEdei0YTh5","target":"machines-1","version":1}', NULL, '\xd6fdf9429a458db2a2572a1716a413a8f9e057cf1646b32168a738153e09a791');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (5, 'req_tK4R9ozCltBELPG-', 'trust-bundle', 0, 'server', '2026-11-29 11:51:50.802+00', '{"actor":{"kind":"server"},"after":"5","at":"2026-11-29T11:51:50.802Z","details":{"documentHash":"fd276ca499dc7941d6ffd1c379f0996c2dcbb127e128815f3e9ed166b415e881","root":"SHA256:HNUWmdux/ADa7j/ehh17Qj8nh5jJHbpTBnMotfAtiNs"},"facts":{"trust-bundle:1":"HsWzezp1LFYso0Pzxkndr-NCGB3SqIoVTNXcmHj6QFY"},"kind":"trust-bundle","requestId":"req_tK4R9ozCltBELPG-","root":"3cf8b1cc02f8464b0f0e26b7e789375e3c9cd9d8cdb2ab52824b4a9c488d9115","target":"version 1","version":1}', NULL, '\x4a4eb41923f25a397983b8521c10534a087c0e47a5bc5a1a6e8933cd847df413');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (6, 'req_PTD6dQJ4cglJOSIy', 'invitation-created', 0, 'operator', '2026-11-29 11:51:50.831+00', '{"actor":{"kind":"operator"},"after":"6","at":"2026-11-29T11:51:50.831Z","details":{"administrator":true,"endsAt":"2026-11-29T12:51:50.830Z","identity":"alice@example.com","link":"link_OksTae3bPegbO8224w4X3g"},"facts":{"invited:alice@example.com":["myJIvRHAc0ScGFVU8BGePlj6TJHN9jyqM-e0CJ7ZaeQ",1795956711],"link:link_OksTae3bPegbO8224w4X3g":["90X27L6kMcBpN_fj9cZrvlEdyzzHSQy1WDpDoAabdIc",1795956711]},"from":"192.0.2.7","kind":"invitation-created","requestId":"req_PTD6dQJ4cglJOSIy","root":"4b94ba660cfda5a5fc6045d913df22af335718d0a4ebfa084206086121d5a643","target":"alice@example.com","version":1}', NULL, '\xde9a29596e2291c00539627e498bb6283155a7e5e154eaf7009f7e0bbf76e6d8');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (7, 'req_CReQWdCXCnZGfCp-', 'enrolled', 0, 'alice@example.com', '2026-11-29 11:51:50.854+00', '{"actor":{"identity":"alice@example.com","kind":"person","session":"session_d2a2a5j2qks3gvzc"},"after":"7","at":"2026-11-29T11:51:50.854Z","details":{"administrator":true,"first":false,"invitedBy":"operator","link":"link_OksTae3bPegbO8224w4X3g","recovery":false},"facts":{"link:link_OksTae3bPegbO8224w4X3g":null,"person:alice@example.com":"_0Jnbgqv0Y0P3q8JExzxT4lihW1HrYwnQFfr4qAea_A","relying-party":"3U1jZzgqF4TpFUau0QRbWHzB6d0-peqUoz9QuODUJDk","session:session_d2a2a5j2qks3gvzc":["DR9kqVUpcBbau_N2ms9o63Lf8Fd6q7LIzGhaVZpfPG8",1795996311]},"from":"192.0.2.7","kind":"enrolled","requestId":"req_CReQWdCXCnZGfCp-","root":"0fb4fa2dd9940ecb41ac4b8f425c54b0ef510c70b00542978721600338b8290e","target":"alice@example.com","version":1}', NULL, '\x6bcf2263827940551d60408e240b5d092e3d3310aa5a8498b5ce81eaa902d040');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (8, 'req_CReQWdCXCnZGfCp-', 'passkey-added', 0, 'alice@example.com', '2026-11-29 11:51:50.855+00', '{"actor":{"identity":"alice@example.com","kind":"person","session":"session_d2a2a5j2qks3gvzc"},"after":"7","at":"2026-11-29T11:51:50.855Z","details":{"credentialId":"rIlo6z_MAeY-12oo7PTOsExGThdSyMbkNr7PmnLj3P8","name":"first","publicKey":"pQECAyYgASFYIJqxUzvEhdtQDaTnWOhRswe_vqwBIdDJpK0nfNuAZCZQIlggmt3fID_dNLMXhReIxg05IguUQfq_vUzM1xgV8RGID78","synced":true},"facts":{"passkey-name:passkey_WE1qJTMIWtYCAvL4dHeqAQ":"3l8sv0wQoNFG8qZxqsNj6GQP78RprUKsJTZPGeS8GU8","passkey-of:alice@example.com passkey_WE1qJTMIWtYCAvL4dHeqAQ":"6HyTfUa_o-CqqbB4TPFogDsBT-h3yR4qECNdVGrhBCw","passkey:passkey_WE1qJTMIWtYCAvL4dHeqAQ":"kWGls9bb9hMWWW5_lsjnzXCoKP4nP9L1eOvSttCtQyM"},"from":"192.0.2.7","kind":"passkey-added","place":1,"requestId":"req_CReQWdCXCnZGfCp-","root":"b33415c7e71b9f6b47ca0895ca9a4d01cf22540bb9a1bfa9d42d2cacd1db5c46","target":"passkey_WE1qJTMIWtYCAvL4dHeqAQ","version":1}', NULL, '\x6d6acc78b402688c6b438bd3585492916f888660476448be49d252f6b1c9ed8e');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (9, 'req_0Svg7KmFT9qLjJ2u', 'login', 0, 'alice@example.com', '2026-11-29 11:51:50.881+00', '{"actor":{"identity":"alice@example.com","kind":"person","session":"session_bcdejulusnh46467"},"after":"9","at":"2026-11-29T11:51:50.881Z","decision":"allow","details":{"assertion":{"authenticatorData":"SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MdAAAAAA","clientDataJSON":"eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiQWFJbkphOVhoTVF6MThXU2lvdGx1SEV4enl4akdOb0kwR0J2TVlVeDFQRSIsIm9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6NDQ4MCIsImNyb3NzT3JpZ2luIjpmYWxzZX0","credentialId":"rIlo6z_MAeY-12oo7PTOsExGThdSyMbkNr7PmnLj3P8","nonce":"AaInJa9XhMQz18WSiotluHExzyxjGNoI0GBvMYUx1PE","publicKey":"pQECAyYgASFYIJqxUzvEhdtQDaTnWOhRswe_vqwBIdDJpK0nfNuAZCZQIlggmt3fID_dNLMXhReIxg05IguUQfq_vUzM1xgV8RGID78","signature":"MEUCIEN6_fk-T0BzeQKY1QhfHrj9pjVgdh4cU5yiF8iX16oAAiEAhtY9hsMfgBSycDiZ_ayM230sb2qFa7Ie2cfQTZ92J8M"},"flow":"browser","origin":"http://localhost:4480"},"facts":{"assertion:AaInJa9XhMQz18WSiotluHExzyxjGNoI0GBvMYUx1PE":["KITxLFpJN9vqk7BXLWgTrXg4ghJK-aZNNgAoan6V0hw",1795953411],"session:session_bcdejulusnh46467":["j4WStMgnXk5BRAutrpwiN4m5QSmcUBptagcaPhvmZ5w",1795996311]},"from":"192.0.2.7","kind":"login","requestId":"req_0Svg7KmFT9qLjJ2u","root":"85eca4d7af6eb32864d5d0dcbe8061b1f26c2c03d104a4ad766a98fda08b94e9","target":"session_bcdejulusnh46467","version":1}', NULL, '\x0fbb8bb074cf5fc8c7a038b16f6e84b133f86ca2026aa453d066710ec55d2ad2');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (10, 'req_GVRM1YxUpByqQOBZ', 'invitation-created', 0, 'operator', '2026-11-29 11:51:50.889+00', '{"actor":{"kind":"operator"},"after":"10","at":"2026-11-29T11:51:50.889Z","details":{"administrator":false,"endsAt":"2026-11-29T12:51:50.888Z","identity":"bob@example.com","link":"link_8FvrhsThtP-c0mZlArufOQ"},"facts":{"invited:bob@example.com":["H5g8px8YQQwph4iljHePzO0J3H57uoatRfBVDMki2po",1795956711],"link:link_8FvrhsThtP-c0mZlArufOQ":["k1Kb7XwEzA2msFHIoGoRRDJ1PPuzIUdt8bINC0bfDCo",1795956711]},"from":"192.0.2.7","kind":"invitation-created","requestId":"req_GVRM1YxUpByqQOBZ","root":"5c9c8bf70bbfb861c800e2420d9c7ea32deb52e10827a2b872684b2dbd15d5e9","target":"bob@example.com","version":1}', NULL, '\x55d2229feee0de873d5ed6e1249cf73a2fc311800e606e20b2fa5989dcf48632');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (11, 'req_UuRobO9gm90NO9by', 'enrolled', 0, 'bob@example.com', '2026-11-29 11:51:50.899+00', '{"actor":{"identity":"bob@example.com","kind":"person","session":"session_yc366f3e3wwwht26"},"after":"11","at":"2026-11-29T11:51:50.899Z","details":{"administrator":false,"first":false,"invitedBy":"operator","link":"link_8FvrhsThtP-c0mZlArufOQ","recovery":false},"facts":{"link:link_8FvrhsThtP-c0mZlArufOQ":null,"person:bob@example.com":"Gua9OqNlcBGIDDSvTF6R_r1EUlOps0k2wtl8nHuSzgk","session:session_yc366f3e3wwwht26":["qd9sNNWwtDEs2QVmcQm98exYejwJjuvre_bEGiQlrek",1795996311]},"from":"192.0.2.7","kind":"enrolled","requestId":"req_UuRobO9gm90NO9by","root":"a763218bdd1c3384fdda75ed27393de457d33c0c7981692964b42c2e4055cf31","target":"bob@example.com","version":1}', NULL, '\x1f0597cf9b3a39e1c3c2b3a0eacb23d7dbf23b024e512c285dc0d47bf17707f3');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (12, 'req_UuRobO9gm90NO9by', 'passkey-added', 0, 'bob@example.com', '2026-11-29 11:51:50.899+00', '{"actor":{"identity":"bob@example.com","kind":"person","session":"session_yc366f3e3wwwht26"},"after":"11","at":"2026-11-29T11:51:50.899Z","details":{"credentialId":"T5qsAiVQSKmYgP1RDP9hHyQss0SB6bHq1E1athXLHbk","name":"first","publicKey":"pQECAyYgASFYIO97a-DUT8QTLxwXW8O2No9TzySU9YVNKvjqDxkVR8jGIlgg2wxjp2MNsGlmByGMPXoP80E_kFQdDbx_q4qutpg-Ecs","synced":true},"facts":{"passkey-name:passkey_clm_H5bxr4qrlxbq2oBHWg":"3l8sv0wQoNFG8qZxqsNj6GQP78RprUKsJTZPGeS8GU8","passkey-of:bob@example.com passkey_clm_H5bxr4qrlxbq2oBHWg":"lQ54oBv2s285i62bUWqYn3GsKMZMaJrdKO7hmbUc_cg","passkey:passkey_clm_H5bxr4qrlxbq2oBHWg":"C-lEza6Qe79AY_pjK2if5vZgFdfjHaUCTqsUlYhQwvQ"},"from":"192.0.2.7","kind":"passkey-added","place":1,"requestId":"req_UuRobO9gm90NO9by","root":"28915458d427cd837e869b72780a8adf30a790944745c99b2a9fbe3ef7b1a633","target":"passkey_clm_H5bxr4qrlxbq2oBHWg","version":1}', NULL, '\xc55232331128eaff25c98d15485fad4d67ef4efcbc0380e9ded0a203adb3ac24');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (13, 'req_exwa6pargPXFquo5', 'login', 0, 'bob@example.com', '2026-11-29 11:51:50.915+00', '{"actor":{"identity":"bob@example.com","kind":"person","session":"session_ahhck6uxcfv76udo"},"after":"13","at":"2026-11-29T11:51:50.915Z","decision":"allow","details":{"assertion":{"authenticatorData":"SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MdAAAAAA","clientDataJSON":"eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiQWFJbkphOTdCVnB1UW1qTmhMZW1PMzllVmY5VTNkUjg1MXVvTkw1QmtJayIsIm9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6NDQ4MCIsImNyb3NzT3JpZ2luIjpmYWxzZX0","credentialId":"T5qsAiVQSKmYgP1RDP9hHyQss0SB6bHq1E1athXLHbk","nonce":"AaInJa97BVpuQmjNhLemO39eVf9U3dR851uoNL5BkIk","publicKey":"pQECAyYgASFYIO97a-DUT8QTLxwXW8O2No9TzySU9YVNKvjqDxkVR8jGIlgg2wxjp2MNsGlmByGMPXoP80E_kFQdDbx_q4qutpg-Ecs","signature":"MEQCIQCKTlVlhhTM1tJSudrtFYFRXTBKPETX0ybmsvl2FYlPJQIfEj-yBJ_yOypCLPQqwqafToo4ISfGUwjl1R-qnEhn6Q"},"flow":"browser","origin":"http://localhost:4480"},"facts":{"assertion:AaInJa97BVpuQmjNhLemO39eVf9U3dR851uoNL5BkIk":["KITxLFpJN9vqk7BXLWgTrXg4ghJK-aZNNgAoan6V0hw",1795953411],"session:session_ahhck6uxcfv76udo":["-g3DCKi06y05lS73QZfmBr_cY1Tqhnl4Q_18CKnG2zo",1795996311]},"from":"192.0.2.7","kind":"login","requestId":"req_exwa6pargPXFquo5","root":"56fd64a24afc82f631d29df38d0caf8cdf9aab4ea995a87df1088e4a768eee19","target":"session_ahhck6uxcfv76udo","version":1}', NULL, '\x30416feab6a6bc31f3170beef6461c589fcd9e87dbb02e0e3a3ee5ba2607cb09');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (14, 'req_b-zh4GA8t0T-Dg8Z', 'invitation-created', 0, 'operator', '2026-11-29 11:51:50.925+00', '{"actor":{"kind":"operator"},"after":"14","at":"2026-11-29T11:51:50.925Z","details":{"administrator":false,"endsAt":"2026-11-29T12:51:50.924Z","identity":"carol@example.com","link":"link_tBtDB1SDSkrPieZcYogwKg"},"facts":{"invited:carol@example.com":["EvUo0pLRV76QRxq09JaCCX-ZjQGgWMpQX-PWzVAqQzQ",1795956711],"link:link_tBtDB1SDSkrPieZcYogwKg":["iwqA7MKagxVqzBZVoSJ5vCIv3IMijjbj-WLiKmdxBaQ",1795956711]},"from":"192.0.2.7","kind":"invitation-created","requestId":"req_b-zh4GA8t0T-Dg8Z","root":"01743bde5e993fa6b7c0d1cccd4070f7ce919acb69a1858ae86ac378a5743543","target":"carol@example.com","version":1}', NULL, '\x0042e2d5bac54cf8c6ee35e05b010e0386d77f177b6d4807c4a5a74e9b447280');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (15, 'req_LhMSSh847in_dRig', 'enrolled', 0, 'carol@example.com', '2026-11-29 11:51:50.936+00', '{"actor":{"identity":"carol@example.com","kind":"person","session":"session_d3ayipsovwvuu2im"},"after":"15","at":"2026-11-29T11:51:50.936Z","details":{"administrator":false,"first":false,"invitedBy":"operator","link":"link_tBtDB1SDSkrPieZcYogwKg","recovery":false},"facts":{"link:link_tBtDB1SDSkrPieZcYogwKg":null,"person:carol@example.com":"FCejP0pvuIJjj68lXxfyH9J-alajOGmvUcRyDv6Aov4","session:session_d3ayipsovwvuu2im":["h7lGHs0Bu_ILrf_k6J69QqZCvNJD6mX7ivTTDGB9vfc",1795996311]},"from":"192.0.2.7","kind":"enrolled","requestId":"req_LhMSSh847in_dRig","root":"409c2f59bdc5840accff7fe49e592886652b684bdc6e040c44a731c49739d39f","target":"carol@example.com","version":1}', NULL, '\x1a57def28ed2aa4b7d0cbd08aa19387af08b05dfebf830a00d9129fa8949b8fe');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (16, 'req_LhMSSh847in_dRig', 'passkey-added', 0, 'carol@example.com', '2026-11-29 11:51:50.936+00', '{"actor":{"identity":"carol@example.com","kind":"person","session":"session_d3ayipsovwvuu2im"},"after":"15","at":"2026-11-29T11:51:50.936Z","details":{"credentialId":"ruOfTWIGzHyCssHC9Tzd_scwUvBeFMCpEgxc9SJMpeA","name":"first","publicKey":"pQECAyYgASFYIIYEk_3hESPB8Rn1obex_FOOfFDVNpdmjNwKnGca_tVNIlggkzb1xwufMbvJX8Kulkoy4_xGDSo2j52U9TiG2i0b4J4","synced":true},"facts":{"passkey-name:passkey_Pv7zrvKo8L7i6AJSk8UWFg":"3l8sv0wQoNFG8qZxqsNj6GQP78RprUKsJTZPGeS8GU8","passkey-of:carol@example.com passkey_Pv7zrvKo8L7i6AJSk8UWFg":"RsMqlfyn3PAS2kQgyGh5mZBC22EPTf02QxGbp92MjcA","passkey:passkey_Pv7zrvKo8L7i6AJSk8UWFg":"LMI2dw_oKeLZsFDr-WWxtPvk7tDLZfIsQb1baWE0G5Y"},"from":"192.0.2.7","kind":"passkey-added","place":1,"requestId":"req_LhMSSh847in_dRig","root":"d72a7dd6a322a5d7f48efa6c7991371229771517a9a2ab2b97a13acc77335fd8","target":"passkey_Pv7zrvKo8L7i6AJSk8UWFg","version":1}', NULL, '\xb3293494b731eeae87b107ea69a9edac2650580ae6539246a6d548073d8cd6a9');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (19, 'req_16B4FHkee8KwqwMf', 'team-changed', 0, 'operator', '2026-11-29 11:51:50.968+00', '{"actor":{"kind":"operator"},"after":"19","at":"2026-11-29T11:51:50.968Z","details":{"change":"added","person":"bob@example.com"},"facts":{"member:sre bob@example.com":"aIhLLQBLLgk8r5drR8hP81By2cRvSGS9RiD6oi7J9BU"},"from":"192.0.2.7","kind":"team-changed","requestId":"req_16B4FHkee8KwqwMf","root":"de9d43b45a95d7a62efb8d96ddef7b2060d8d8a419e43697ca32e361cdc8b6d4","target":"sre","version":1}', NULL, '\x76f4cb03541a305902820b599452fe8e5e4c60e3cbee2b92f103d9121da8e225');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (20, 'req_PCsGPx6TRvf-HYj5', 'grant-added', 0, 'operator', '2026-11-29 11:51:50.983+00', '{"actor":{"kind":"operator"},"after":"20","at":"2026-11-29T11:51:50.983Z","details":{"hosts":{"labels":{"env":"prod"}},"login":"deploy","maxLifetime":28800,"options":{"agentForwarding":false,"portForwarding":true,"pty":true,"sourceAddress":["10.0.0.0/8"],"x11Forwarding":false},"who":"team:sre","words":"grant grant_gtDCLU61RnZZ9Eoy: deploy on env=prod for at most 8h"},"facts":{"grant:grant_gtDCLU61RnZZ9Eoy":"fku7NtUGHcnTvjVm9hYTzpE8JrOb7C5Ol0eHldUHHGY"},"from":"192.0.2.7","kind":"grant-added","requestId":"req_PCsGPx6TRvf-HYj5","root":"76a9dcaafa9b9b290c4b508dd3d5c2f0f74a810659339db1d8d1f9f943a88ccc","target":"grant_gtDCLU61RnZZ9Eoy","version":1}', NULL, '\x28f92129cc72521b120544897eb8a58aa49c5544df799995792dcab4126dd158');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (17, 'req_25YHzpbG6Il1PCZv', 'login', 0, 'carol@example.com', '2026-11-29 11:51:50.949+00', '{"actor":{"identity":"carol@example.com","kind":"person","session":"session_kmayrn6fdf7ayw6a"},"after":"17","at":"2026-11-29T11:51:50.949Z","decision":"allow","details":{"assertion":{"authenticatorData":"SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MdAAAAAA","clientDataJSON":"eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiQWFJbkphLWZwYVpmTFl1bTFqUlM5NmEzNG1QaF9VZXE5TlRJUEp1Sy1hVSIsIm9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6NDQ4MCIsImNyb3NzT3JpZ2luIjpmYWxzZX0","credentialId":"ruOfTWIGzHyCssHC9Tzd_scwUvBeFMCpEgxc9SJMpeA","nonce":"AaInJa-fpaZfLYum1jRS96a34mPh_Ueq9NTIPJuK-aU","publicKey":"pQECAyYgASFYIIYEk_3hESPB8Rn1obex_FOOfFDVNpdmjNwKnGca_tVNIlggkzb1xwufMbvJX8Kulkoy4_xGDSo2j52U9TiG2i0b4J4","signature":"MEQCIBgOrnhCH-K0J4MaVz1NmEBNbP1fAbjumwQh93M68n0KAiArwPw9vRjADuw36YrjnT2rp1pZowdSF8ARJZ47lYHY9w"},"flow":"browser","origin":"http://localhost:4480"},"facts":{"assertion:AaInJa-fpaZfLYum1jRS96a34mPh_Ueq9NTIPJuK-aU":["KITxLFpJN9vqk7BXLWgTrXg4ghJK-aZNNgAoan6V0hw",1795953411],"session:session_kmayrn6fdf7ayw6a":["SC_EMFu7lAB7MJRD1llVouA7CgGdZqrgfJgj6sufi2A",1795996311]},"from":"192.0.2.7","kind":"login","requestId":"req_25YHzpbG6Il1PCZv","root":"5e56c7812fe5ca8e83137c60926a68b8455cbd3e04183e86bf19832e0da45728","target":"session_kmayrn6fdf7ayw6a","version":1}', NULL, '\x50b894d6103f369be268a91d2c9e73cbfaa06b55ffaa6a13ea9c95195ea2ce4f');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (18, 'req_g2NkI1RMk3tdvGan', 'person-disabled', 0, 'operator', '2026-11-29 11:51:50.961+00', '{"actor":{"kind":"operator"},"after":"18","at":"2026-11-29T11:51:50.961Z","details":{"sessions":2},"facts":{"ended:carol@example.com":"RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o","person:carol@example.com":"iD9Z_jB5U89m8EInKlhZ-3B34Bh3dSdSFso1o_m4ZHs","session:session_d3ayipsovwvuu2im":null,"session:session_kmayrn6fdf7ayw6a":null},"from":"192.0.2.7","kind":"person-disabled","requestId":"req_g2NkI1RMk3tdvGan","root":"f57f1bd8a571bd186dd5f88a196b3bce13f81f7fbb33fdfe60749e11af9851dd","target":"carol@example.com","version":1}', NULL, '\xd74fc042e921e18d0f931150303371309219963d7e77e5d96e2b689448907436');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (21, 'req_7CqZ4g4L5IMxqsw2', 'host-added', 0, 'operator', '2026-11-29 11:51:50.992+00', '{"actor":{"kind":"operator"},"after":"21","at":"2026-11-29T11:51:50.992Z","decision":"allow","details":{"aliases":["www.keyman.localhost"],"labels":{"env":"prod"},"port":22,"tokenEndsAt":"2026-11-29T12:51:50.990Z"},"facts":{"host:host_upJ5qrwYlEtsdmJEBiboeQ":"Qj6wJOoYZo62nR1_zatucN8kdUKjy5ynoYAc7B_f7L4","join-token:1f23cee42768dfb5a448c3326c1baabf3c02330720c56914bfb823c0692494c0":["PpBKKs56AMKJ14eB4vX_PKh1qFHpc0KpJNaNm9WZrh0",1795956711]},"from":"192.0.2.7","kind":"host-added","requestId":"req_7CqZ4g4L5IMxqsw2","root":"f733ef3a049b472fe532e05105429b390286bb6efb9e68a97780477bac0147df","target":"web1.keyman.localhost","version":1}', NULL, '\xef44facffce655444586c6528762992a476c64a67462bd29d7373ed75321824c');
INSERT INTO public.ledger_record (index, request_id, kind, part, actor, at, record, proof, seal) VALUES (22, 'req_4S9CdxO-nAE_Q1f0', 'grant-added', 0, 'operator', '2026-11-29 11:51:51.002+00', '{"actor":{"kind":"operator"},"after":"22","at":"2026-11-29T11:51:51.002Z","details":{"hosts":{"host":"web1.keyman.localhost"},"login":"root","maxLifetime":3600,"options":{"agentForwarding":false,"portForwarding":true,"pty":true,"x11Forwarding":false},"who":"alice@example.com","words":"grant grant_OkK1gtX5i-3AfjTm: root on web1.keyman.localhost for at most 1h"},"facts":{"grant:grant_OkK1gtX5i-3AfjTm":"jALlYNpmA38yDGuej-y5yeIuEmP2aAE16MQ5pqh2iH4"},"from":"192.0.2.7","kind":"grant-added","requestId":"req_4S9CdxO-nAE_Q1f0","root":"b18bef07dea1ea627a5366e515e3a9dd4ef098dd4756711b3a211d168db03674","target":"grant_OkK1gtX5i-3AfjTm","version":1}', NULL, '\xb6acd6375e37f9dcaf066b37eca89d44c73617b40bfc2b7f7d3a92b3c462c8fc');


ALTER TABLE public.ledger_record ENABLE TRIGGER ALL;

--
-- Data for Name: ledger_tile; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.ledger_tile DISABLE TRIGGER ALL;

INSERT INTO public.ledger_tile (level, index, hashes) VALUES (0, 0, '\xd66c914be31e3f67434896aa2f3a0b2af7267902c9f69f962289fd08ee3c3e4e7130184212f92d8230456ec371df97f6b51be383683323da7459a66992f6ca9b8aecbff68515ae55571b8f9a5ed7a95a8817a6e128ccad66c93ea9f96c8206a9deab9c6d8b61d87dd437227d5a295a9273876d47456249df34e33196aa13d11c86c2f329b327e58f635eafe9c431249352a7414246c64119cf7304c21389e5d78eeae1beee1358921146553618f3abe636886eeb9b405acef0d09a5e862914271b95bc7ee2485ea63070480c7e9e5c9aa78eebe1ec9e8345b8e89f5afafd37b6fcede624699c42768b00c1354e99ba232f8e49761170f4611a97504eeb6003b737c14e3a8ad4cc2ce059abcfc7c5a11bb41311020e9c0ad3285595c20525c4bcf94d7906e0e80c3619b9f0b01d7c2f03a32a5e57185804f309dfe12180662dce1453d04835da6675e009595002fb48d985aee7d025e59bbba838208d6ad8f37bc8e3571016843a41f23d03c7fcab5390e68d03e68bbd18d6f175f24e6bc047098967eca2b3aaa1bf9010f43de0b46330d13951206c02b53bd908e3b0e4198c7a27bf785b670c7804c1e8db9136f031de331ad9b6bd6a76e4f730b4924a09fa5f0323ececc4ee6a1d534e264020cd2406a78f1363f85708ab82ee2d2bf13ff0780b07889fffc4c3eccfd96ac0184a8ae6cf46fa112a11baeb6a1d1b5a67d776c3b36ceef9e64ff0866367a6cd3bd350e392af147223d262ce82358437e27f0074362921aa31ec7dc8c7de73a9e64e39edfb0443ac763152a09edf776a15010291ead68c6dae522af37989871172376f4e411b26ae8c2645d46d2b5e0b37f0bdc5bae5c784b5de1e650fe22785ce2f70fefa2bc38b8f9aef1a794c0f644e316edd6096340ed8d7804531aa13260983b6f24cf9e5ce0afab11a0b54662da42df47f2a6311cd24874e3c988a03052dcc8282a7aa76a4a01f5ca60b8ba56009a2b2bedbf5f42fd14de8e20474ec1ae9c7252e4c3610d83c8128eb2a867805baca95ca');


ALTER TABLE public.ledger_tile ENABLE TRIGGER ALL;

--
-- Data for Name: ledger_tree; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.ledger_tree DISABLE TRIGGER ALL;

INSERT INTO public.ledger_tree (singleton, size) VALUES (true, 23);


ALTER TABLE public.ledger_tree ENABLE TRIGGER ALL;

--
-- Data for Name: login_transaction; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.login_transaction DISABLE TRIGGER ALL;



ALTER TABLE public.login_transaction ENABLE TRIGGER ALL;

--
-- Data for Name: mandate; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.mandate DISABLE TRIGGER ALL;



ALTER TABLE public.mandate ENABLE TRIGGER ALL;

--
-- Data for Name: passkey; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.passkey DISABLE TRIGGER ALL;

INSERT INTO public.passkey (id, person, name, credential_id, public_key, counter, transports, synced, backed_up, created_at, last_used_at) VALUES ('passkey_WE1qJTMIWtYCAvL4dHeqAQ', 'alice@example.com', 'first', '\xac8968eb3fcc01e63ed76a28ecf4ceb04c464e1752c8c6e436becf9a72e3dcff', '\xa50102032620012158209ab1533bc485db500da4e758e851b307bfbeac0121d0c9a4ad277cdb806426502258209adddf203fdd34b317851788c60d39220b9441fabfbd4cccd71815f111880fbf', 0, '["internal"]', true, true, '2026-11-29 11:51:50.85+00', '2026-11-29 11:51:50.877+00');
INSERT INTO public.passkey (id, person, name, credential_id, public_key, counter, transports, synced, backed_up, created_at, last_used_at) VALUES ('passkey_clm_H5bxr4qrlxbq2oBHWg', 'bob@example.com', 'first', '\x4f9aac02255048a99880fd510cff611f242cb34481e9b1ead44d5ab615cb1db9', '\xa5010203262001215820ef7b6be0d44fc4132f1c175bc3b6368f53cf2494f5854d2af8ea0f191547c8c6225820db0c63a7630db0696607218c3d7a0ff3413f90541d0dbc7fab8aaeb6983e11cb', 0, '["internal"]', true, true, '2026-11-29 11:51:50.896+00', '2026-11-29 11:51:50.911+00');
INSERT INTO public.passkey (id, person, name, credential_id, public_key, counter, transports, synced, backed_up, created_at, last_used_at) VALUES ('passkey_Pv7zrvKo8L7i6AJSk8UWFg', 'carol@example.com', 'first', '\xaee39f4d6206cc7c82b2c1c2f53cddfec73052f05e14c0a9120c5cf5224ca5e0', '\xa5010203262001215820860493fde11123c1f119f5a1b7b1fc538e7c50d53697668cdc0a9c671afed54d2258209336f5c70b9f31bbc95fc2ae964a32e3fc460d2a368f9d94f53886da2d1be09e', 0, '["internal"]', true, true, '2026-11-29 11:51:50.933+00', '2026-11-29 11:51:50.946+00');


ALTER TABLE public.passkey ENABLE TRIGGER ALL;

--
-- Data for Name: relying_party; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.relying_party DISABLE TRIGGER ALL;

INSERT INTO public.relying_party (singleton, rp_id, origin, fixed_at) VALUES (true, 'localhost', 'http://localhost:4480', '2026-11-29 11:51:50.85+00');


ALTER TABLE public.relying_party ENABLE TRIGGER ALL;

--
-- Data for Name: revocation; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.revocation DISABLE TRIGGER ALL;



ALTER TABLE public.revocation ENABLE TRIGGER ALL;

--
-- Data for Name: revoked_certificate; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.revoked_certificate DISABLE TRIGGER ALL;



ALTER TABLE public.revoked_certificate ENABLE TRIGGER ALL;

--
-- Data for Name: revoked_key; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.revoked_key DISABLE TRIGGER ALL;



ALTER TABLE public.revoked_key ENABLE TRIGGER ALL;

--
-- Data for Name: schema_migration; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.schema_migration DISABLE TRIGGER ALL;

INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0001_base.sql', '4f3a6e468a48864ea672b7547290ee10efe461134303b3f0b42f9145489f0636', '2026-11-29 11:51:50.647825+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0002_ledger.sql', 'cd61bd064ac88df6bf9189e33667dd3acc547ab5c93bdc9217c368a4b6e18c1d', '2026-11-29 11:51:50.652706+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0003_identity.sql', 'e76a571ca577ead6adaf722597098245145a0f8a8151cd4b881685154a510f9a', '2026-11-29 11:51:50.664022+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0004_access.sql', 'af056dad7a98f58c055e3e066aeb0102c9090c8df73bce6187dd9609ec067761', '2026-11-29 11:51:50.682204+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0005_authority.sql', '07046d2b0fdd48ccbac78d7e333e66c0611276812513ef8c30283feaa4ed4494', '2026-11-29 11:51:50.686674+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0006_hosts.sql', '423f50cf9eb426113242dd8ca6b6ecf6c97d88b4ce47a2e69daf30147486b9f6', '2026-11-29 11:51:50.695768+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0007_standby_key.sql', 'c7832b3e43930bb7b2b259efe45b3df2eb68fb3ca3db2595e8eaafe9ed54ccdf', '2026-11-29 11:51:50.701544+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0008_host_streams.sql', '0d29ca31bd1d6f37838ac9ae6dc743d784e90535d39db3df9f6ec5dc8711e41a', '2026-11-29 11:51:50.702942+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0009_stranger_rows.sql', '1be65962fae210f6cd38de987c196a028616369afe0cc3bdf19dca66dcc8838b', '2026-11-29 11:51:50.703899+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0011_session_passkey.sql', 'b0529f935afd525393f202e49d1ef07ebb93080a19ce5658c1436c5e882347f1', '2026-11-29 11:51:50.705923+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0012_touches.sql', 'fd801f2103fce6d70bbda6cbc607423a03221cbfa905790c4fb0fa3e032de90a', '2026-11-29 11:51:50.706874+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0014_sealed_records.sql', '2f5cd78ee1b3ebe0456799fbcf54db9390fb847f076cfb943fbedc874e9c3a03', '2026-11-29 11:51:50.70972+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0016_restore.sql', 'c3ba91a78579eef3cd602ed95e7f39df756c1b4d0c507cfbb97e63d11180a6ee', '2026-11-29 11:51:50.710889+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0017_sealed_in_force.sql', '3cf0c0ea32aa432ebadfbdc155565b3c26243be151a75ecc820f8b3ce84c1ca3', '2026-11-29 11:51:50.711926+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0018_reset_links.sql', '20a2f60cd26ceaf7cd6069c897c294a231f03224287b944c289cfac43a48a5b9', '2026-11-29 11:51:50.712878+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0019_in_force_content.sql', 'c6c95af1a7f4b241624509d98ce97b7e17a25a734097c176b3444a6fc175c8a1', '2026-11-29 11:51:50.713859+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0020_host_findings.sql', '1dab1c1a09e5e8609efcaca5a20243b6253dd97d90e22445e349af641ccb3564', '2026-11-29 11:51:50.714842+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0021_host_aliases.sql', '3a84c9d9d78d23c6280b6a47a44986addca0246f2f16160c1bb6e8c7c72b2212', '2026-11-29 11:51:50.715779+00');
INSERT INTO public.schema_migration (name, sha256, applied_at) VALUES ('0022_session_address.sql', '62118e5184820f59e4d0af9151109d39a64d45ee844496e88038301e4859320d', '2026-11-29 11:51:50.717192+00');


ALTER TABLE public.schema_migration ENABLE TRIGGER ALL;

--
-- Data for Name: serial_block; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.serial_block DISABLE TRIGGER ALL;



ALTER TABLE public.serial_block ENABLE TRIGGER ALL;

--
-- Data for Name: server_secret; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.server_secret DISABLE TRIGGER ALL;

INSERT INTO public.server_secret (name, wrapped, created_at) VALUES ('record seal', '\x01f8f5ccf36d89949b6e508d73261bc2d62ae4d11f5bdf246b9c3dc4762a4ea715f70bcfd9af758ce94078d2f663b3627a4bffc8c87a900b607d2df895', '2026-11-29 11:51:50.753+00');
INSERT INTO public.server_secret (name, wrapped, created_at) VALUES ('challenge', '\x01fa40138f755956a359c2f76f27da1a918e118654f1213a5a38cf233e5122b096861bb16e0e79f8772befd3383495704571eb03cd7f7fa929bcc99cf3', '2026-11-29 11:51:50.759+00');
INSERT INTO public.server_secret (name, wrapped, created_at) VALUES ('answers', '\x013b2a38eb4885df755c5be413b767ab15f95b8a2dfa890dd9917697e5369874ed562c122b18d1928b91abaa2f4a8a1a0f8bdd9a9e6514cdafc9d5db21', '2026-11-29 11:51:50.76+00');
INSERT INTO public.server_secret (name, wrapped, created_at) VALUES ('in force', '\x01f9e94548a8658ed6f14c8f0b5ccfbbad276e820c86461bf3b25852135e644f4191f04e0694e336b3a36e1a7b78d1474cc12794620d1fa1e40e333213', '2026-11-29 11:51:50.812+00');


ALTER TABLE public.server_secret ENABLE TRIGGER ALL;

--
-- Data for Name: team; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.team DISABLE TRIGGER ALL;

INSERT INTO public.team (name, created_at) VALUES ('sre', '2026-11-29 11:51:50.967+00');


ALTER TABLE public.team ENABLE TRIGGER ALL;

--
-- Data for Name: team_member; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.team_member DISABLE TRIGGER ALL;

INSERT INTO public.team_member (team, person) VALUES ('sre', 'bob@example.com');


ALTER TABLE public.team_member ENABLE TRIGGER ALL;

--
-- Data for Name: trust_bundle; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.trust_bundle DISABLE TRIGGER ALL;

INSERT INTO public.trust_bundle (version, document, signatures, changes_roots, published_at) VALUES (1, '{
  "format": "keyman-trust-v1",
  "organisation": "acme",
  "version": 1,
  "incarnation": "caa6a265-be2c-4bb4-b419-628641ee080d",
  "publicUrl": "http://localhost:4480",
  "machinesUrl": "https://localhost:4443",
  "hostSuffixes": [
    "keyman.localhost"
  ],
  "roots": {
    "threshold": 1,
    "keys": [
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBfBvv85kUFrSvUkQAksiTpJF3Gy/ETbI3uV5meTJW2o"
    ]
  },
  "ssh": {
    "userAuthorities": [
      {
        "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPpR+Zmw/WWWxs8T9/xrszfD8mKotuXTibboFo4e2QZJ",
        "state": "active"
      }
    ],
    "hostAuthorities": [
      {
        "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK+8GwuLY0UPlfqMtWbhf4XQFBHO1GNqvvdaIVrrp9vC",
        "state": "active"
      }
    ]
  },
  "x509": [
    {
      "purpose": "machines",
      "certificate": "-----BEGIN CERTIFICATE-----\nMIIBrjCCAVSgAwIBAgIUIMcqCrXlN+baN+H8Q7tc0qA9y+cwCgYIKoZIzj0EAwIw\nIzEhMB8GA1UEAwwYS2V5TWFuIG1hY2hpbmUgYXV0aG9yaXR5MB4XDTI2MTEyOTEx\nNTA1MFoXDTM2MTEyNjExNTE1MFowIzEhMB8GA1UEAwwYS2V5TWFuIG1hY2hpbmUg\nYXV0aG9yaXR5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENv6hsS5SZqW/1jbD\n74V+YfhiF8JmvpH1+jjVl/8FSXz7yMMMA3ZGbCYP+60JfSODyDAXQXjKVJ86emN8\nGKW4QqNmMGQwEgYDVR0TAQH/BAgwBgEB/wIBADAOBgNVHQ8BAf8EBAMCAQYwHQYD\nVR0OBBYEFBdvrmllQFvi4e5ZvAo0LtHKvxaFMB8GA1UdIwQYMBaAFBdvrmllQFvi\n4e5ZvAo0LtHKvxaFMAoGCCqGSM49BAMCA0gAMEUCIH2MOjcjuva82ytuPVbVyXiF\nquxrJpqUncUK1PCMqVyRAiEAotgyjQutk+RZn1ri6TXqGKKG9ZScocndmGDD0kYg\nJFM=\n-----END CERTIFICATE-----\n",
      "state": "active"
    }
  ],
  "logKey": {
    "name": "acme/keyman-log",
    "key": "iQQ97Xhv4q/gd+hNGFtLunMWTMbqNwvNbCEATKYHbRc="
  }
}
', '["-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgF8G+/zmRQWtK9SRACSyJOkkXcb\nL8RNsje5XmZ5MlbagAAAAMa2V5bWFuLXRydXN0AAAAAAAAAAZzaGE1MTIAAABTAAAAC3Nz\naC1lZDI1NTE5AAAAQGa6SigPAx9x5vXRy6UHpRoleYux81yEPGEZaWnxxOnIi0JhDQeaJl\nj5t8/n1uTc+4noJolXcV+PWvdUNspDWwM=\n-----END SSH SIGNATURE-----\n"]', true, '2026-11-29 11:51:50.799+00');


ALTER TABLE public.trust_bundle ENABLE TRIGGER ALL;

--
-- Data for Name: webauthn_challenge; Type: TABLE DATA; Schema: public; Owner: -
--

ALTER TABLE public.webauthn_challenge DISABLE TRIGGER ALL;



ALTER TABLE public.webauthn_challenge ENABLE TRIGGER ALL;

--
-- Name: identity_change_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.identity_change_id_seq', 4, true);


--
-- PostgreSQL database dump complete
--

\unrestrict b1KydHme66iR4Tp0kyhYbQ4bFBqxcqNyfINSDTSg1eZh5u8OlcoyNYFu9RE6JGi

