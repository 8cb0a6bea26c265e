import { generateKeyPairSync } from 'node:crypto'
import type { KeyAlgorithm, Keystore, KeystoreKey } from '#server/keystore/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { formatPublicKey, publicKeyFromSpki, type SshPublicKey } from '#shared/ssh/index.ts'
import { readSpki } from '#shared/x509/index.ts'
import type { AuthorityKeys } from './port.ts'
import type { KeyRow, KeyState, Purpose } from './records.ts'
import type { AuthorityKey } from './sign.ts'

/** Finds or makes a key of this label. Throws `conflict` where there is one of another algorithm. */
export async function ensureKey(keystore: Keystore, label: string, algorithm: KeyAlgorithm): Promise<KeystoreKey> {
  const found = (await keystore.listKeys()).find(key => key.label === label)
  if (!found) return keystore.generateKey(label, algorithm)
  if (found.algorithm === algorithm) return found
  throw new KeymanError('conflict', `the key ${label} in the keystore is ${found.algorithm}, not ${algorithm}`)
}

export type SshAuthority = AuthorityKey & {
  readonly purpose: 'ssh-user' | 'ssh-host'
  readonly state: KeyState
  readonly ssh: SshPublicKey
  /** Of a user authority: its canary certificate, one line. */
  readonly canary: string | undefined
}
export type MachinesAuthority = AuthorityKey & {
  readonly purpose: 'machines'
  readonly state: KeyState
  /** The self-signed root, PEM. */
  readonly root: string
}

/** The authority keys that count (`known-keys.ts`), each with the state that the sealed log gives it. */
export class KeyRing {
  readonly ssh: readonly SshAuthority[]
  readonly machines: readonly MachinesAuthority[]
  /** What others are to trust. */
  readonly trusted: AuthorityKeys

  constructor(rows: readonly KeyRow[]) {
    const ssh: SshAuthority[] = []
    const machines: MachinesAuthority[] = []
    for (const row of rows) {
      const { algorithm } = readSpki(row.spki)
      if (algorithm !== 'ed25519' && algorithm !== 'ecdsa-p256')
        throw new KeymanError('internal', `the authority key ${row.label} is of a kind that is not used`)
      const { label, spki, state } = row
      const key = { label, algorithm, spki }
      if (row.purpose === 'machines')
        machines.push({ ...key, purpose: row.purpose, state, root: row.certificate ?? '' })
      else
        ssh.push({
          ...key,
          purpose: row.purpose,
          state,
          ssh: publicKeyFromSpki(row.spki),
          canary: row.certificate ?? undefined,
        })
    }
    const lines = (purpose: SshAuthority['purpose']) =>
      ssh.filter(key => key.purpose === purpose).map(key => ({ key: formatPublicKey(key.ssh), state: key.state }))
    this.ssh = ssh
    this.machines = machines
    this.trusted = {
      userAuthorities: lines('ssh-user'),
      hostAuthorities: lines('ssh-host'),
      machines: machines.map(({ root, state }) => ({ certificate: root, state })),
    }
  }

  active(purpose: 'ssh-user' | 'ssh-host'): SshAuthority {
    const key = this.ssh.find(k => k.purpose === purpose && k.state === 'active')
    if (!key) throw notHeardOf(purpose)
    return key
  }

  activeMachines(): MachinesAuthority {
    const key = this.machines.find(k => k.state === 'active')
    if (!key) throw notHeardOf('machine')
    return key
  }
}

/** A label that nothing has: `ssh-user-1`, `ssh-user-2` … */
export function freeLabel(purpose: Purpose, taken: ReadonlySet<string>): string {
  for (let n = 1; ; n++) if (!taken.has(`${purpose}-${n}`)) return `${purpose}-${n}`
}

/** A key pair whose private half is dropped at once. */
export function publicHalfOfNewKey(): SshPublicKey {
  const { publicKey } = generateKeyPairSync('ed25519')
  return publicKeyFromSpki(publicKey.export({ format: 'der', type: 'spki' }))
}

/** The log says that another key signs, and its row was not read yet: another server made it, and switched to it. */
const notHeardOf = (purpose: string): KeymanError =>
  new KeymanError('unavailable', `this server has not read yet which ${purpose} authority key signs now`, {
    retryAfter: 1,
  })
