import type { Keystore } from '#server/keystore/index.ts'
import { revokedFact } from '#shared/audit/index.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import type { HeldKeys } from './held-keys.ts'
import { freeLabel, type SshAuthority } from './keys.ts'
import { refuseMissing, type SortedKeys, sortKeys } from './known-keys.ts'
import { issueRoot } from './machines/root.ts'
import type { AuthorityDeps } from './port.ts'
import { AUTHORITY_PURPOSES, insertKey, type Purpose, selectKeys } from './records.ts'
import { raiseKrl } from './revocation/raise-krl.ts'
import { createSigner, oneKeystore, type Signer } from './sign.ts'
import { stateOf } from './signers.ts'
import { CANARY_SERIAL, issueCanary } from './ssh/canary.ts'

type FirstKeysDeps = Pick<
  AuthorityDeps,
  'store' | 'ledger' | 'keystore' | 'standbyKeystore' | 'algorithm' | 'now' | 'random' | 'verifiedBundle'
> & {
  readonly held: HeldKeys
  readonly newRequestId: () => string
}

/** Where a key is made: the standby keys have a keystore of their own, and sign nothing but what makes them known. */
type Home = { readonly state: 'active' | 'standby'; readonly keystore: Keystore; readonly signer: Signer }

/**
 * Makes what is missing of the three authority keys, and of their standby keys where there is a second keystore, and
 * reads all of them. A key's row is written last, together with its canary's revocation: a crash before leaves a key in
 * the keystore that nobody uses, never one whose serial 1 is given twice.
 */
export async function ensureAuthorityKeys(deps: FirstKeysDeps): Promise<SortedKeys> {
  const { keystore, standbyKeystore, held, ledger } = deps
  const bundle = deps.verifiedBundle()
  const read = async () => sortKeys(await selectKeys(deps.store), held, bundle, ledger.facts)
  const signers = new Map<Keystore, Signer>()
  const signerOf = (of: Keystore): Signer => {
    const signer = signers.get(of) ?? createSigner(oneKeystore(of), ledger)
    signers.set(of, signer)
    return signer
  }
  // Before anything is made: a key that somebody took out of the database must not be replaced by a new one.
  refuseMissing((await read()).known, bundle)
  for (const purpose of AUTHORITY_PURPOSES) {
    const stateful = async (state: Home['state']) =>
      (await selectKeys(deps.store)).find(row => row.purpose === purpose && stateOf(ledger.facts, row) === state)
    // A keystore that was exchanged or lost a key is seen at the start, not at the first login of the morning.
    const active = await stateful('active')
    const home = active ? held.of(active).keystore : keystore
    if (!active) await makeKey(deps, purpose, { state: 'active', keystore, signer: signerOf(keystore) })
    // Beside the one that signs, whichever of the two that is after a switch.
    const beside = home === keystore ? standbyKeystore : keystore
    if (!beside) continue
    const standby = await stateful('standby')
    if (standby) held.of(standby)
    else await makeKey(deps, purpose, { state: 'standby', keystore: beside, signer: signerOf(beside) })
  }
  return read()
}

async function makeKey(given: FirstKeysDeps, purpose: Purpose, { state, keystore, signer }: Home): Promise<void> {
  const deps = { ...given, signer }
  const { store, ledger } = deps
  const algorithm = purpose === 'machines' ? 'ecdsa-p256' : deps.algorithm
  const inRows = (await selectKeys(store)).map(({ label }) => label)
  const label = freeLabel(purpose, new Set([...inRows, ...deps.held.labels()]))
  const made = await keystore.generateKey(label, algorithm)
  deps.held.add(keystore, made)
  const { spki } = made
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
