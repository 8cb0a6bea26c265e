import type { Ledger } from '#server/ledger/index.ts'
import { incarnationNumber } from '#server/store/index.ts'
import {
  type Interval,
  merged,
  readRevoked,
  revokedFact,
  revokedKeyId,
  revokedKeys,
  revokedSessionKeys,
} from '#shared/audit/index.ts'
import { toBase64, toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { HostName } from '#shared/names.ts'
import { KRL_NAMESPACE } from '#shared/namespaces.ts'
import { decodeKrl, ed25519Key, fingerprint, parseSshsig, verifySshsigByAny } from '#shared/ssh/index.ts'
import type { KeyRing } from '../keys.ts'
import type { AuthorityDeps } from '../port.ts'
import { SPAN } from '../serials.ts'
import { type Adopted, adoptRevokedIn } from './adopt.ts'
import { raiseKrl } from './raise-krl.ts'

/** No certificate of the history that was given up is good for longer, in seconds. */
const LONGEST = 400n * 86_400n

export type HeldList = { readonly bytes: Uint8Array; readonly signature: string }
export type AdoptDeps = Pick<AuthorityDeps, 'store' | 'ledger' | 'logKeys' | 'now' | 'random'> & {
  readonly keys: () => KeyRing
}

/**
 * A list that a host still has of a history that was given up (a backup was restored): what was revoked by it and is not known here any more is
 * revoked again. The host's word counts for nothing; the signature of a log key does, and one of an older list can only revoke. Throws
 * `denied` for a list that none has signed, `conflict` for one of the history that goes on.
 */
export async function adoptList(
  { store, ledger, logKeys, now, random, keys }: AdoptDeps,
  { bytes, signature }: HeldList,
  by: { readonly host: HostName; readonly requestId: string; readonly from: string },
): Promise<Adopted> {
  const signed = { namespace: KRL_NAMESPACE, message: bytes, publicKeys: logKeys.believed().map(ed25519Key) }
  if (!verifySshsigByAny(parseSshsig(signature), signed))
    throw new KeymanError('denied', 'the list is not signed by a log key of this organisation')
  const { version, certificates, fingerprints } = decodeKrl(bytes)
  if (version > BigInt(incarnationNumber(store.incarnation) - 1) * SPAN)
    throw new KeymanError('conflict', 'the list is of the history that goes on: it is known here')
  await ledger.follow()
  const until = BigInt(Math.floor(now().getTime() / 1000)) + LONGEST
  const revoked = certificates.flatMap(({ authority, serials }) => {
    const own = authority && fingerprint(authority)
    const key = keys().ssh.find(({ ssh }) => fingerprint(ssh) === own)
    // Of users all certificates from before are revoked, by one interval each.
    if (key?.purpose !== 'ssh-host') return []
    const known = knownOf(ledger, key.label)
    return serials
      .filter(({ from, to }) => !known.some(each => each.from <= from && to <= each.to))
      .map(({ from, to }) => revokedFact({ authority: key.label, from, to, until }).id)
  })
  const sessionKeys = new Set(revokedSessionKeys(ledger.facts.ids).map(key => key.fingerprint))
  const known = new Set([...sessionKeys, ...revokedKeys(ledger.facts.ids)])
  const lost = fingerprints.map(each => `SHA256:${toBase64(each).replace(/=$/, '')}`).filter(each => !known.has(each))
  const ids = (kind: string) => (kind === 'revoked:' ? revoked : kind === 'revoked-key:' ? lost.map(revokedKeyId) : [])
  if (revoked.length + lost.length === 0) return { certificates: 0, keys: 0 }
  return store.transaction({ name: 'adopt a revocation list', deadlineMs: 30_000 }, async t => {
    const at = now()
    const { version: krlVersion, facts } = await raiseKrl({ ledger }, t, at)
    const { host, ...rest } = by
    const { entries, adopted } = await adoptRevokedIn(ledger, t, {
      ids,
      id: `revocation_${toBase64Url(random(12))}`,
      krlVersion,
      at,
      by: { ...rest, actor: { kind: 'host', name: host } },
      target: `what ${host} had of before the restore`,
    })
    const last = entries.at(-1)
    if (last) await ledger.appendIn(t, [...entries.slice(0, -1), { ...last, facts: [...(last.facts ?? []), ...facts] }])
    return adopted
  })
}

const knownOf = ({ facts }: Pick<Ledger, 'facts'>, label: string): Interval[] =>
  merged(readRevoked(facts.ids).filter(({ authority }) => authority === label))
