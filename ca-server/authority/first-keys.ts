import type { Keystore } from '#server/keystore/index.ts'
import { revokedFact } from '#shared/audit/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { freeLabel, type SshAuthority } from './keys.ts'
import { refuseMissing, type SortedKeys, sortKeys } from './known-keys.ts'
import { issueRoot } from './machines/root.ts'
import type { AuthorityDeps } from './port.ts'
import { AUTHORITY_PURPOSES, insertKey, type KeyRow, type Purpose, selectKeys } from './records.ts'
import { raiseKrl } from './revocation/raise-krl.ts'
import { createSigner, oneKeystore, type Signer } from './sign.ts'
import { stateOf } from './signers.ts'
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
  const read = async () => sortKeys(await selectKeys(deps.store), keystores, bundle, ledger.facts)
  // Before anything is made: a key that somebody took out of the database must not be replaced by a new one.
  refuseMissing((await read()).known, bundle)
  for (const purpose of AUTHORITY_PURPOSES) {
    const stateful = async (state: Place['state']) =>
      (await selectKeys(deps.store)).find(held => held.purpose === purpose && stateOf(ledger.facts, held) === state)
    const active = await stateful('active')
    const home = active ? await holderOf(keystores, active) : keystore
    if (!active) await makeKey(deps, purpose, { state: 'active', keystore, signer })
    // Beside the one that signs, whichever of the two that is after a switch.
    const beside = keystores.find(other => other !== home)
    if (!beside) continue
    const standby = await stateful('standby')
    if (standby) await holderOf(keystores, standby)
    else
      await makeKey(deps, purpose, {
        state: 'standby',
        keystore: beside,
        signer: createSigner(oneKeystore(beside), ledger),
      })
  }
  return read()
}

/** A keystore that was exchanged or lost a key is seen at the start, not at the first login of the morning. */
async function holderOf(keystores: readonly Keystore[], row: KeyRow): Promise<Keystore> {
  let isTaken = false
  for (const keystore of keystores) {
    const held = (await keystore.listKeys()).find(key => key.label === row.label)
    if (held && equalBytes(held.spki, row.spki)) return keystore
    isTaken ||= held !== undefined
  }
  const what = isTaken ? 'another key by the name of' : 'no key by the name of'
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
