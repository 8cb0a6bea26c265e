import type { Entry, Fact, IssuedCertificate, Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import {
  MOST_REVOKED_ROWS,
  type RevokedInterval,
  readRevoked,
  revokedKeyId,
  revokedKeys,
  revokedSessionKeys,
} from '#shared/audit/index.ts'
import { insertRevocation, insertRevoked, insertRevokedKey } from './records.ts'

export type Adopted = { readonly certificates: number; readonly keys: number }

/**
 * What was revoked after a backup, by what somebody else knows of it (`ids`): it is revoked again, in the rows too. Gives the entry that says so;
 * none where nothing more is known. `id`: of this revocation, whose KRL has the version `krlVersion`.
 */
export async function adoptRevokedIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  {
    ids,
    ...how
  }: {
    readonly ids: (kind: string) => Iterable<string>
    readonly id: string
    readonly krlVersion: bigint
    readonly at: Date
    readonly by: Pick<Entry, 'actor' | 'requestId' | 'from'>
    /** Of whom it is known, such as a host. */
    readonly target: string
  },
): Promise<{ readonly entries: readonly Entry[]; readonly adopted: Adopted }> {
  const isNew = (id: string) => !ledger.facts.has(id)
  const intervals = readRevoked(ids).filter(({ id }) => isNew(id))
  const keys = revokedKeys(ids).map(revokedKeyId).filter(isNew)
  const sessionKeys = revokedSessionKeys(ids).filter(({ id }) => isNew(id))
  const facts: Fact[] = [...intervals.map(({ id }) => id), ...keys, ...sessionKeys.map(({ id }) => id)].map(id => ({
    id,
    is: 'revoked',
  }))
  const adopted = { certificates: intervals.length, keys: keys.length + sessionKeys.length }
  if (facts.length === 0) return { entries: [], adopted }
  const { id, krlVersion, at, by, target } = how
  const rows = intervals.flatMap(certificatesOf)
  const common = { target, certificates: rows.length, sessions: 0 }
  const actor = by.actor.kind === 'host' ? `host:${by.actor.name}` : by.actor.kind
  await insertRevocation(t, { id, ...common, reason: undefined, krlVersion }, at.toISOString(), actor)
  await insertRevoked(t, rows, id)
  for (const key of keys) await insertRevokedKey(t, key.slice('revoked-key:'.length), id)
  const details = { id, krlVersion: krlVersion.toString(), certificates: rows.length, sessions: 0 }
  return { entries: [{ ...by, kind: 'revoked', target, details, facts }], adopted }
}

function certificatesOf({ authority, from, to, until }: RevokedInterval): RevokedRow[] {
  if (until === undefined || to - from > MOST_REVOKED_ROWS) return []
  return Array.from({ length: Number(to - from) + 1 }, (_, n) => ({
    ...{ authority, serial: from + BigInt(n), keyId: 'of the time after the backup', validBefore: until },
  }))
}
type RevokedRow = Pick<IssuedCertificate, 'authority' | 'serial' | 'keyId' | 'validBefore'>
