import { krlVersions, merged, readRevoked, revokedKeys, revokedSessionKeys } from '#shared/audit/index.ts'
import { fromBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { KRL_NAMESPACE, REVOKED_HOSTS_NAMESPACE } from '#shared/namespaces.ts'
import {
  armorSshsig,
  ed25519Key,
  encodeKrl,
  encodeSignature,
  encodeSshsig,
  sshsigSignedData,
} from '#shared/ssh/index.ts'
import type { KeyRing } from '../keys.ts'
import type { AuthorityDeps, Krl } from '../port.ts'
import { CANARY_SERIAL } from '../ssh/canary.ts'

export type KrlDeps = Pick<AuthorityDeps, 'store' | 'ledger' | 'logKeys' | 'organisation'> & {
  readonly keys: () => KeyRing
  /** Reads the authority keys anew: another server may have made one. */
  readonly reloadKeys: () => Promise<unknown>
}

/**
 * The KRL as the log has it now; made and signed anew only when its version has grown. One version has one content,
 * byte for byte, on every server: its time is the version's own, and what has ended stays on it until it is taken off the log
 * (`prune-krl.ts`), since to leave it out sooner would need a clock. Serials follow each other, so a month costs little. OpenSSH refuses signatures inside, so it stands beside.
 */
export function krlOf(deps: KrlDeps): { current(): Promise<Krl> } {
  let cached: Promise<Krl> | undefined
  let cachedVersion: bigint | undefined
  return {
    async current() {
      await deps.ledger.follow()
      const version = krlVersions(deps.ledger.facts.ids).newest?.version ?? 0n
      if (!cached || version !== cachedVersion) {
        cachedVersion = version
        cached = makeKrl(deps).catch((error: unknown) => {
          cached = undefined
          throw error
        })
      }
      return cached
    },
  }
}

async function makeKrl({ store, ledger, logKeys, organisation, keys, reloadKeys }: KrlDeps): Promise<Krl> {
  // Read together: nothing is followed in between.
  const { newest } = krlVersions(ledger.facts.ids)
  const intervals = Map.groupBy(readRevoked(ledger.facts.ids), ({ authority }) => authority)
  const sessionKeys = revokedSessionKeys(ledger.facts.ids).map(({ fingerprint }) => fingerprint)
  const fingerprints = [...new Set([...revokedKeys(ledger.facts.ids), ...sessionKeys])].sort()
  const version = newest?.version ?? 0n
  const isKnown = (label: string) => keys().ssh.some(key => key.label === label)
  if (![...intervals.keys()].every(isKnown)) await reloadKeys()
  // Left out, what was revoked would be good again.
  for (const label of intervals.keys())
    if (!isKnown(label))
      throw new KeymanError('internal', `the authority key ${label}, whose certificates are revoked, is unknown`)
  const common = {
    version,
    generatedAt: newest?.at ?? 0n,
    comment: `keyman ${organisation}`,
    keys: [],
    fingerprints: fingerprints.map(text => fromBase64(`${text.slice('SHA256:'.length)}=`)),
  }
  const certificates = (purposes: readonly string[]) =>
    keys()
      .ssh.filter(key => purposes.includes(key.purpose))
      .flatMap(({ label, purpose, ssh: authority }) => {
        // The canary of each user authority is on it whatever anybody says.
        const canary = purpose === 'ssh-user' ? [{ from: CANARY_SERIAL, to: CANARY_SERIAL }] : []
        const serials = merged([...canary, ...(intervals.get(label) ?? [])])
        return serials.length === 0 ? [] : [{ authority, serials, keyIds: [] }]
      })
  const bytes = encodeKrl({ ...common, certificates: certificates(['ssh-user', 'ssh-host']) })
  // What users had is no matter of clients, which would read a hundred thousand entries at each connection.
  // It names its history: laptops know no other word of it, and versions go forward within one history alone.
  const comment = `${common.comment} ${store.incarnation}`
  const ofHosts = encodeKrl({ ...common, comment, certificates: certificates(['ssh-host']) })
  return {
    version,
    bytes,
    ofHosts: { bytes: ofHosts, signature: await signBeside(logKeys, REVOKED_HOSTS_NAMESPACE, ofHosts) },
    signature: await signBeside(logKeys, KRL_NAMESPACE, bytes),
    canaries: keys().ssh.flatMap(key => (key.canary === undefined ? [] : [key.canary])),
  }
}

async function signBeside(logKeys: KrlDeps['logKeys'], namespace: string, message: Uint8Array): Promise<string> {
  const signed = await logKeys.sign(sshsigSignedData(namespace, message))
  const publicKey = ed25519Key(signed.publicKey)
  return armorSshsig(encodeSshsig({ publicKey, namespace, signature: encodeSignature(publicKey, signed.signature) }))
}
