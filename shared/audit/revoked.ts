/**
 * Pure: what is revoked, as the records say it (`facts.ts`). The KRL is made from these and from nothing else: whoever takes
 * a row away takes nothing off it. An ID says everything, so that no value has to be looked up.
 */
import type { Fact } from './facts.ts'
import { type Interval, ranges } from './ranges.ts'

const is = 'revoked'

const CERTIFICATES = 'revoked:'
export type RevokedInterval = Interval & {
  readonly authority: string
  /** When the last of them ends, in seconds since 1970; without it they stay on the list for ever. */
  readonly until?: bigint | undefined
}
export const revokedFact = ({ authority, from, to, until }: RevokedInterval): Fact => ({
  id: `${CERTIFICATES}${authority} ${from}-${to} ${until ?? 'ever'}`,
  is,
})

/** Longer intervals are of a restored history, which revoked whatever had been given: of these the tables have no rows. */
export const MOST_REVOKED_ROWS = 100_000n

/** Of one authority, as few as there can be. */
export function revokedIntervals(
  authority: string,
  certificates: readonly { readonly serial: bigint; readonly validBefore: bigint }[],
): RevokedInterval[] {
  const ends = new Map(certificates.map(({ serial, validBefore }) => [serial, validBefore]))
  return ranges([...ends.keys()]).map(({ from, to }) => {
    let until = 0n
    for (let serial = from; serial <= to; serial++) {
      const end = ends.get(serial) ?? 0n
      if (end > until) until = end
    }
    return { authority, from, to, until }
  })
}

export function readRevoked(ids: (prefix: string) => Iterable<string>): (RevokedInterval & { readonly id: string })[] {
  const found: (RevokedInterval & { readonly id: string })[] = []
  for (const id of ids(CERTIFICATES)) {
    const [, authority, from, to, until] = /^revoked:(\S+) (\d+)-(\d+) (\d+|ever)$/.exec(id) ?? []
    if (authority && from && to && until)
      found.push({
        id,
        authority,
        from: BigInt(from),
        to: BigInt(to),
        ...(until === 'ever' ? {} : { until: BigInt(until) }),
      })
  }
  return found
}

/** Whether a certificate's serial is on the list. */
export function revokedSerials(
  ids: (prefix: string) => Iterable<string>,
): (certificate: { readonly authority: string; readonly serial: bigint }) => boolean {
  const revoked = Map.groupBy(readRevoked(ids), ({ authority }) => authority)
  return ({ authority, serial }) =>
    (revoked.get(authority) ?? []).some(({ from, to }) => from <= serial && serial <= to)
}

const KEYS = 'revoked-key:'
export const revokedKeyId = (fingerprint: string): string => `${KEYS}${fingerprint}`
export const revokedKeyFact = (fingerprint: string): Fact => ({ id: revokedKeyId(fingerprint), is })
export const revokedKeys = (ids: (prefix: string) => Iterable<string>): string[] =>
  [...ids(KEYS)].map(id => id.slice(KEYS.length)).sort()

/** `whose` session it is: a person or workload. Seconds since 1970: nothing is certified for the key after `until`. */
export type SessionKey = {
  readonly id: string
  readonly whose: string
  readonly fingerprint: string
  readonly until: bigint
}
const SESSION_KEYS = 'revoked-session-key:'
/** Of a session that was ended with all that its person had: no certificate of it ends after `until`. */
export const revokedSessionKeyFact = ({ whose, fingerprint, until }: Omit<SessionKey, 'id'>): Fact => ({
  id: `${SESSION_KEYS}${fingerprint} ${until} ${whose}`,
  is,
})
export function revokedSessionKeys(ids: (prefix: string) => Iterable<string>): SessionKey[] {
  return [...ids(SESSION_KEYS)].flatMap(id => {
    // Those of earlier releases don't say whose.
    const [fingerprint, until, whose = ''] = id.slice(SESSION_KEYS.length).split(' ')
    return fingerprint && until ? [{ id, whose, fingerprint, until: BigInt(until) }] : []
  })
}

const VERSION = 'krl-version:'
export type KrlVersion = {
  readonly id: string
  readonly version: bigint
  /** Seconds since 1970: one version has one content, byte for byte, on every server. */
  readonly at: bigint
}
export const versionFact = (version: bigint, at: bigint): Fact => ({ id: `${VERSION}${version} ${at}`, is: 'version' })
/** The newest, and what has to be said to be gone beside it. A server that was behind may have left an older one there. */
export function krlVersions(ids: (prefix: string) => Iterable<string>): {
  newest: KrlVersion | undefined
  all: string[]
} {
  let newest: KrlVersion | undefined
  const all: string[] = []
  for (const id of ids(VERSION)) {
    all.push(id)
    const [, version, at] = /^krl-version:(\d+) (\d+)$/.exec(id) ?? []
    if (version && at && (!newest || BigInt(version) > newest.version))
      newest = { id, version: BigInt(version), at: BigInt(at) }
  }
  return { newest, all }
}
