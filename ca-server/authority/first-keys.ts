import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { freeLabel, KeyRing, type SshAuthority } from './keys.ts'
import { issueRoot } from './machines/root.ts'
import type { AuthorityDeps } from './port.ts'
import { insertActiveKey, type Purpose, selectKeys } from './records.ts'
import { insertRevokedForEver, raiseKrlVersion } from './revocation/records.ts'
import { authorityKey, type Signer } from './sign.ts'
import { CANARY_KEY_ID, CANARY_SERIAL, issueCanary } from './ssh/canary.ts'

type FirstKeysDeps = Pick<AuthorityDeps, 'store' | 'ledger' | 'keystore' | 'algorithm' | 'now' | 'random'> & {
  readonly signer: Signer
  readonly newRequestId: () => string
}

/**
 * Makes what is missing of the three authority keys, in the keystore, and reads all of them. A key's row is written last,
 * together with its canary's revocation: a crash before leaves a key in the keystore that nobody uses, never one whose
 * serial 1 is given twice.
 */
export async function ensureAuthorityKeys(deps: FirstKeysDeps): Promise<KeyRing> {
  for (const purpose of ['ssh-user', 'ssh-host', 'machines'] as const) {
    const rows = await selectKeys(deps.store)
    if (!rows.some(row => row.purpose === purpose && row.state === 'active')) await makeKey(deps, purpose)
  }
  return new KeyRing(await selectKeys(deps.store))
}

async function makeKey(deps: FirstKeysDeps, purpose: Purpose): Promise<void> {
  const { store, ledger, keystore, signer } = deps
  const algorithm = purpose === 'machines' ? 'ecdsa-p256' : deps.algorithm
  const label = await freeLabel(keystore, purpose, await selectKeys(store))
  const { spki } = await keystore.generateKey(label, algorithm)
  const key = authorityKey(label, algorithm, spki)
  const requestId = deps.newRequestId()

  let certificate: string | null = null
  if (purpose === 'machines') {
    certificate = await signer.inTurn(() => issueRoot(deps, { ...key, purpose, state: 'active', spki }, requestId))
  } else {
    const ssh = publicKeyFromSpki(spki)
    await ledger.append({
      requestId,
      kind: 'authority-key-created',
      actor: { kind: 'server' },
      target: label,
      details: { purpose, algorithm, fingerprint: fingerprint(ssh) },
    })
    const authority: SshAuthority = { ...key, purpose, state: 'active', ssh, canary: undefined }
    if (purpose === 'ssh-user') certificate = await signer.inTurn(() => issueCanary(deps, authority, requestId))
  }

  await store.transaction({ name: 'authority key', deadlineMs: 10_000 }, async t => {
    const at = deps.now().toISOString()
    if (!(await insertActiveKey(t, { label, purpose, spki, certificate }, store.incarnation, at))) return
    if (purpose !== 'ssh-user') return
    await insertRevokedForEver(t, label, CANARY_SERIAL, CANARY_KEY_ID)
    await raiseKrlVersion(t, at)
    await ledger.appendIn(t, [
      {
        requestId,
        kind: 'revoked',
        actor: { kind: 'server' },
        target: 'canary',
        details: { authority: label, serials: '1' },
      },
    ])
  })
}
