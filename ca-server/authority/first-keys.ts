import type { Keystore } from '#server/keystore/index.ts'
import { revokedFact } from '#shared/audit/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { freeLabel, type SshAuthority } from './keys.ts'
import { refuseMissing, type SortedKeys, sortKeys } from './known-keys.ts'
import { issueRoot } from './machines/root.ts'
import type { AuthorityDeps } from './port.ts'
import { insertKey, type KeyRow, type Purpose, selectKeys } from './records.ts'
import { raiseKrl } from './revocation/raise-krl.ts'
import { createSigner, type Signer } from './sign.ts'
import { CANARY_SERIAL, issueCanary } from './ssh/canary.ts'

type FirstKeysDeps = Pick<
  AuthorityDeps,
  'store' | 'ledger' | 'keystore' | 'standbyKeystore' | 'algorithm' | 'now' | 'random'
> & {
  readonly signer: Signer
  readonly newRequestId: () => string
  readonly verifiedBundle: AuthorityDeps['verifiedBundle']
}

/** Where a key is made: the standby keys have a keystore of their own, and sign nothing but what makes them known. */
type Place = { readonly state: 'active' | 'standby'; readonly keystore: Keystore; readonly signer: Signer }

/**
 * Makes what is missing of the three authority keys, and of their standby keys where there is a second keystore, and
 * reads all of them. A key's row is written last, together with its canary's revocation: a crash before leaves a key in
 * the keystore that nobody uses, never one whose serial 1 is given twice.
 */
export async function ensureAuthorityKeys(deps: FirstKeysDeps): Promise<SortedKeys> {
  const { keystore, standbyKeystore, signer, ledger } = deps
  const keystores = standbyKeystore ? [keystore, standbyKeystore] : [keystore]
  const bundle = deps.verifiedBundle()
  // Before anything is made: a key that somebody took out of the database must not be replaced by a new one.
  refuseMissing((await sortKeys(await selectKeys(deps.store), keystores, bundle)).known, bundle)
  const places: Place[] = [{ state: 'active', keystore, signer }]
  if (standbyKeystore)
    places.push({ state: 'standby', keystore: standbyKeystore, signer: createSigner(standbyKeystore, ledger) })
  for (const purpose of ['ssh-user', 'ssh-host', 'machines'] as const)
    for (const place of places) {
      const rows = await selectKeys(deps.store)
      const row = rows.find(held => held.purpose === purpose && held.state === place.state)
      if (row) await checkHeld(place.keystore, row)
      else await makeKey(deps, purpose, place)
    }
  return sortKeys(await selectKeys(deps.store), keystores, bundle)
}

/** A keystore that was exchanged or lost a key is seen at the start, not at the first login of the morning. */
async function checkHeld(keystore: Keystore, row: KeyRow): Promise<void> {
  const held = (await keystore.listKeys()).find(key => key.label === row.label)
  if (held && equalBytes(held.spki, row.spki)) return
  const what = held ? 'another key by the name of' : 'no key by the name of'
  throw new KeymanError('unavailable', `the keystore holds ${what} ${row.label}, which hosts trust`, {
    hint: 'give the server the keystore that belongs to this database, or restore both from one backup',
  })
}

async function makeKey(given: FirstKeysDeps, purpose: Purpose, { state, keystore, signer }: Place): Promise<void> {
  const deps = { ...given, signer }
  const { store, ledger } = deps
  const algorithm = purpose === 'machines' ? 'ecdsa-p256' : deps.algorithm
  const label = await freeLabel(keystore, purpose, await selectKeys(store))
  const { spki } = await keystore.generateKey(label, algorithm)
  const key = { label, algorithm, spki } as const
  const requestId = deps.newRequestId()

  let certificate: string | null = null
  if (purpose === 'machines') {
    certificate = await signer.inTurn(() => issueRoot(deps, { ...key, purpose, state }, requestId))
  } else {
    const ssh = publicKeyFromSpki(spki)
    await ledger.append({
      requestId,
      kind: 'authority-key-created',
      actor: { kind: 'server' },
      target: label,
      details: { purpose, state, algorithm, fingerprint: fingerprint(ssh) },
    })
    const authority: SshAuthority = { ...key, purpose, state, ssh, canary: undefined }
    if (purpose === 'ssh-user') certificate = await signer.inTurn(() => issueCanary(deps, authority, requestId))
  }

  await store.transaction({ name: 'authority key', deadlineMs: 10_000 }, async t => {
    const at = deps.now().toISOString()
    if (!(await insertKey(t, { label, purpose, state, spki, certificate }, store.incarnation, at))) return
    if (purpose !== 'ssh-user') return
    const { facts } = await raiseKrl({ ledger }, t, deps.now())
    await ledger.appendIn(t, [
      {
        requestId,
        kind: 'revoked',
        actor: { kind: 'server' },
        target: 'canary',
        details: { authority: label, serials: String(CANARY_SERIAL) },
        facts: [...facts, revokedFact({ authority: label, from: CANARY_SERIAL, to: CANARY_SERIAL })],
      },
    ])
  })
}
