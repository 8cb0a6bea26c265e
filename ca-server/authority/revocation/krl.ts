import { fromBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
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
import { selectKrlContent, selectKrlVersion } from './records.ts'

export const KRL_NAMESPACE = 'keyman-krl'

export type KrlDeps = Pick<AuthorityDeps, 'store' | 'logKey' | 'organisation'> & {
  readonly keys: () => KeyRing
  /** Reads the authority keys anew: another server may have made one. */
  readonly reloadKeys: () => Promise<unknown>
}

/**
 * The KRL as the database has it now; made and signed anew only when its version has grown. One version has one content,
 * byte for byte, on every server: its time is the version's own. OpenSSH refuses signatures inside, so it stands beside.
 */
export function krlOf(deps: KrlDeps): { current(): Promise<Krl> } {
  let cached: Promise<Krl> | undefined
  let cachedVersion = -1n
  return {
    async current() {
      const version = await selectKrlVersion(deps.store)
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

async function makeKrl({ store, logKey, organisation, keys, reloadKeys }: KrlDeps): Promise<Krl> {
  const content = await selectKrlContent(store)
  const known = (label: string) => keys().ssh.some(key => key.label === label)
  if (![...content.serials.keys()].every(known)) await reloadKeys()
  const authorities = new Map(keys().ssh.map(key => [key.label, key]))
  const bytes = encodeKrl({
    version: content.version,
    generatedAt: BigInt(Math.floor(content.at.getTime() / 1000)),
    comment: `keyman ${organisation}`,
    certificates: [...content.serials].map(([label, serials]) => {
      const authority = authorities.get(label)?.ssh
      // Left out, what was revoked would be good again.
      if (!authority)
        throw new KeymanError('internal', `the authority key ${label}, whose certificates are revoked, is unknown`)
      return { authority, serials: ranges(serials), keyIds: [] }
    }),
    keys: [],
    fingerprints: content.fingerprints.map(text => fromBase64(`${text.slice('SHA256:'.length)}=`)),
  })
  const publicKey = ed25519Key(logKey.publicKey)
  const raw = await logKey.sign(sshsigSignedData(KRL_NAMESPACE, bytes))
  const signature = encodeSshsig({ publicKey, namespace: KRL_NAMESPACE, signature: encodeSignature(publicKey, raw) })
  return {
    version: content.version,
    bytes,
    signature: armorSshsig(signature),
    canaries: keys().ssh.flatMap(key => (key.canary === undefined ? [] : [key.canary])),
  }
}

/** Sorted serials to intervals, both ends included. */
export function ranges(serials: readonly bigint[]): { from: bigint; to: bigint }[] {
  const found: { from: bigint; to: bigint }[] = []
  for (const serial of serials) {
    const last = found.at(-1)
    if (last && serial === last.to + 1n) last.to = serial
    else found.push({ from: serial, to: serial })
  }
  return found
}
