import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { personFact, sessionFact, sessionKeyFact } from '#server/identity/records/facts.ts'
import type { Fact, Ledger } from '#server/ledger/index.ts'
import type { Queryable, Store } from '#server/store/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { decodePublicKey, fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'

/** Rows that a test needs and that nobody made by the way that persons take; recorded as that way records them, or they would not count. */

type Where = { readonly store: Store; readonly ledger: Pick<Ledger, 'appendIn'> }
const random = (bytes: number) => new Uint8Array(randomBytes(bytes))

/** Runs the statement and records what is so from then on, in one transaction. */
export const recorded = (
  { store, ledger }: Where,
  facts: readonly Fact[],
  insert: (t: Queryable) => Promise<unknown>,
): Promise<void> =>
  store.transaction({ name: 'test rows', deadlineMs: 20_000 }, async t => {
    await insert(t)
    const requestId = `req_rows_${toBase64Url(random(9))}`
    const entry = { requestId, kind: 'person-enabled', actor: { kind: 'operator' } } as const
    const parts = Array.from({ length: Math.ceil(facts.length / 200) }, (_, n) => facts.slice(n * 200, (n + 1) * 200))
    await ledger.appendIn(
      t,
      parts.map(part => ({ ...entry, facts: part })),
    )
  })

export async function insertPerson(
  where: Where,
  { identity, owner = false, at }: { identity: string; owner?: boolean; at: Date },
): Promise<void> {
  const userHandle = random(64)
  const person = {
    identity: parsePersonIdentity(identity, 'test'),
    owner,
    state: 'active',
    userHandle,
  } as const
  await recorded(where, [personFact(person)], t =>
    t.execute(
      `insert into person (identity, administrator, state, user_handle, created_at)
       values ($1, $2::boolean, 'active', $3, $4::timestamptz)`,
      [person.identity, owner, userHandle, at.toISOString()],
    ),
  )
}

/** A session of a machine with fresh keys, as a login makes it. Gives its ID. */
export async function insertSession(
  where: Where,
  made: { person: string; at: Date; endsAt: Date; sshPublicKey?: Uint8Array | undefined; clientSpki?: Uint8Array },
): Promise<string> {
  const spki = ({ publicKey }: { publicKey: KeyObject }) =>
    new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  const session = {
    id: `session_${toBase64Url(random(9)).toLowerCase().padEnd(12, 'x')}`,
    person: made.person,
    device: 'laptop',
    sshKey: made.sshPublicKey ?? publicKeyFromSpki(spki(generateKeyPairSync('ed25519'))).blob,
    clientSpki: made.clientSpki ?? spki(generateKeyPairSync('ec', { namedCurve: 'prime256v1' })),
    startedAt: made.at,
    endsAt: made.endsAt,
  }
  const key = sessionKeyFact(session.person, fingerprint(decodePublicKey(session.sshKey)), session.endsAt)
  await recorded(where, [sessionFact(session), key], t =>
    t.execute(
      `insert into person_session (id, kind, person, device, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at)
       values ($1, 'machine', $2, 'laptop', $3, $4, $5::timestamptz, $6::timestamptz, $5::timestamptz, $5::timestamptz)`,
      [
        session.id,
        session.person,
        session.sshKey,
        session.clientSpki,
        made.at.toISOString(),
        made.endsAt.toISOString(),
      ],
    ),
  )
  return session.id
}
