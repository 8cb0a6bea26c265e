/** What a server shows of its rows: each is held against the records of the log. */
export const STATE_KINDS = [
  'person',
  'passkey',
  'relying-party',
  'grant',
  'member',
  'role',
  'place',
  'host',
  'workload',
  'serials',
  'authority-key',
  'trust-bundle',
  'revocation',
  'revoked',
  'revoked-key',
  'krl-version',
] as const
export type StateKind = (typeof STATE_KINDS)[number]

/** What the IDs of its facts begin with; of what there is one of, the whole ID. */
export const idsOf = (kind: StateKind): string => (kind === 'relying-party' ? kind : `${kind}:`)
