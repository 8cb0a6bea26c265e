/**
 * Pure: whether the rows that a server shows are those that the log says, and its revocation list what was revoked. Rows were read while
 * others changed them: each has to be what was so at some size of the log from `since`, which was signed before the reading, to the end.
 */
import { X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { fromBase64, toBase64 } from '../bytes.ts'
import { digestOf, type JsonValue } from '../canonical-json.ts'
import { fingerprint, formatPublicKey, type Krl, parsePublicKey, publicKeyFromSpki } from '../ssh/index.ts'
import type { TrustBundle } from '../trust/index.ts'
import { placeIdOf } from './place-of.ts'
import { type Interval, merged } from './ranges.ts'
import { type AuditRecord, readRecord, saidOf } from './record.ts'
import { MOST_REVOKED_ROWS, readRevoked, revokedKeys, revokedSessionKeys, versionFact } from './revoked.ts'
import { idsOf, STATE_KINDS } from './state-kinds.ts'

/** `row`: canonical JSON of what it says. */
export type StateRow = { readonly id: string; readonly row: string }
/** In words that follow the ID. */
export type StateRemark = { readonly id: string; readonly message: string }
export type StateReport = {
  readonly good: number
  readonly differing: readonly StateRemark[]
  /** No record holds what it would take: no word that they are good. */
  readonly notCheckable: readonly StateRemark[]
}

const KRL = 'revocation list'
const HEAD = 'signed head'
/** A head is a second old, and the clocks of server and auditor may be minutes apart. */
const OLDEST_HEAD_MS = 10 * 60_000
const CANARY = 1n

const keySaid = z.object({
  purpose: z.string(),
  state: z.string(),
  spki: z.string(),
  certificate: z.string().nullable(),
})
const created = z.looseObject({ purpose: z.string(), fingerprint: z.string().optional() })
const revocation = z.looseObject({ id: z.string(), krlVersion: z.string(), certificates: z.int(), sessions: z.int() })

/** What was so of one thing from `since` on: each digest, null where it was not there. */
type Window = { digests: (string | null)[]; index: bigint }

/** Takes in the records of a log in their order, all of them, after what was read of its rows. */
export class StateAudit {
  readonly #since: bigint
  readonly #readAt: Date
  /** When the first record was made that came while rows were read. */
  #first: { readonly index: bigint; readonly at: string | undefined } | undefined
  readonly #rows: ReadonlyMap<string, string>
  readonly #krl: Krl
  readonly #bundle: TrustBundle
  readonly #said = new Map<string, Window>()
  /** Of authority keys by their fingerprints: the labels. */
  readonly #labels = new Map<string, string>()
  /** Of revoked certificates of the rows: their ends, as their records say. */
  readonly #ends = new Map<string, string>()
  readonly #passkeysEnded = new Map<string, bigint>()
  /** Whether records stand in it that named nothing of rows. */
  #isAdopted = false

  constructor({ since, readAt, rows, krl, bundle }: StateShown) {
    this.#since = since
    this.#readAt = readAt
    this.#rows = new Map(rows.map(({ id, row }) => [id, row]))
    this.#krl = krl
    this.#bundle = bundle
  }

  /** `said`: of what it says something, and counts. */
  take(index: bigint, text: string, said: readonly string[]): void {
    if (index === this.#since) this.#first = { index, at: readRecord(text)?.at }
    const isNamed = said.length > 0 || NAMES_MORE.test(text)
    const record = isNamed ? readRecord(text) : undefined
    if (!record) return
    for (const id of said) {
      const digest = saidOf(record, id) ?? null
      if (id.startsWith(PASSKEYS_ENDED)) this.#passkeysEnded.set(id.slice(PASSKEYS_ENDED.length), index)
      else this.#say(id, digest, index)
    }
    this.#more(record, index)
  }

  #more({ kind, target, details, certificate }: AuditRecord, index: bigint): void {
    if (kind === 'log-adopted') this.#isAdopted = true
    if (kind === 'authority-key-created' && target !== undefined) {
      const { purpose, fingerprint: own = certificate?.subjectKey } = created.safeParse(details).data ?? {}
      if (own !== undefined) this.#labels.set(own, target)
      this.#say(`authority-key:${target}`, digestOf({ purpose, fingerprint: own }), index)
    }
    if (kind === 'revoked') {
      const { id, krlVersion, certificates, sessions } = revocation.safeParse(details).data ?? {}
      if (id !== undefined)
        this.#say(`revocation:${id}`, digestOf({ target, krlVersion, certificates, sessions }), index)
    }
    if (certificate) {
      const id = `revoked:${certificate.authority} ${certificate.serial}`
      if (this.#rows.has(id)) this.#ends.set(id, certificate.validBefore)
    }
  }

  #say(id: string, digest: string | null, index: bigint): void {
    const before = this.#said.get(id)
    if (index < this.#since) this.#said.set(id, { digests: [digest], index })
    else this.#said.set(id, { digests: [...(before?.digests ?? [null]), digest], index })
  }

  report(): StateReport {
    const differing: StateRemark[] = []
    const notCheckable: StateRemark[] = []
    const lasting = this.#ids(digests => !digests.includes(null))
    const possible = this.#ids(digests => digests.some(digest => digest !== null))
    const revoked = intervalsOf(possible)
    const pruned = intervalsOf(this.#ids(digests => digests.includes(null)))
    for (const [id, row] of this.#rows) {
      const message = id.startsWith('revoked:') ? this.#revokedRow(id, row, revoked) : this.#row(id, row)
      if (message === undefined) continue
      // Records of an earlier release named neither by a hash.
      const isOld = this.#isAdopted && !this.#said.has(id) && /^(trust-bundle|revocation):/.test(id)
      if (isOld) notCheckable.push({ id, message: 'it is older than what the log says of rows' })
      else differing.push({ id, message })
    }
    const good = this.#rows.size - differing.length - notCheckable.length
    const missing = this.#missing(lasting).map(id => ({ id, by: id }))
    for (const { id, by } of [...missing, ...this.#missingRevoked(lasting, pruned)])
      differing.push({
        id,
        message: `is not in the database, though record ${this.#said.get(by)?.index} says that it is so`,
      })
    for (const message of this.#krlFaults(lasting, possible)) differing.push({ id: KRL, message })
    const old = this.#oldHead()
    if (old !== undefined) differing.push({ id: HEAD, message: old })
    return { good, differing, notCheckable }
  }

  /** From an old head on anything that was ever so would do, and nothing could be missing. */
  #oldHead(): string | undefined {
    if (!this.#first) return undefined
    const { index, at = '' } = this.#first
    const made = Date.parse(at)
    if (made >= this.#readAt.getTime() - OLDEST_HEAD_MS) return undefined
    return `was shown before the rows were read, without record ${index}, which was there by then: what is said of the rows counts for nothing`
  }

  #ids(isMeant: (digests: Window['digests']) => boolean): (prefix: string) => string[] {
    const byKind = Map.groupBy(
      [...this.#said].filter(([, { digests }]) => isMeant(digests)).map(([id]) => id),
      id => id.slice(0, id.indexOf(':') + 1 || undefined),
    )
    return prefix => byKind.get(prefix) ?? []
  }

  /** What is wrong with it. */
  #row(id: string, row: string): string | undefined {
    const window = this.#said.get(id)
    const is = parsed(row)
    const key = id.startsWith('authority-key:') ? keySaid.safeParse(is).data : undefined
    const digest = key ? keyDigest(key) : digestIfAny(is)
    const last = window?.digests.at(-1)
    if (!window) return 'is in the database, and no record says so'
    if (!window.digests.includes(digest))
      return last === null
        ? `is in the database, though record ${window.index} says that it is gone`
        : `is not in the database as record ${window.index} says`
    if (key && !this.#isInBundle(key)) return 'is not in the database as the root of trust has signed it'
    const person = id.startsWith('passkey:')
      ? z.looseObject({ person: z.string() }).safeParse(is).data?.person
      : undefined
    const ended = person === undefined ? undefined : this.#passkeysEnded.get(person)
    if (ended !== undefined && ended < this.#since && window.index < ended)
      return `is in the database, though record ${ended} took all passkeys of ${person} away`
    const place = placeIdOf(id, is)
    return place !== undefined && this.#isOfBefore(window, place)
      ? `is in the database, and was said of a ${place} that is there no more`
      : undefined
  }

  /** As `Facts.holds` has it, of what was so when the reading began. */
  #isOfBefore({ index }: Window, place: string): boolean {
    const made = this.#said.get(place)
    return !made || (made.index < this.#since && (index < made.index || made.digests.at(-1) === null))
  }

  /** A key that is not signed yet is vouched for by its record alone. */
  #isInBundle({ purpose, state, spki, certificate }: z.infer<typeof keySaid>): boolean {
    const { ssh, x509 } = this.#bundle
    if (purpose === 'machines') {
      const named = x509.find(root => spkiOf(root.certificate) === spki)
      return !named || (named.state === state && named.certificate === certificate)
    }
    const line = formatPublicKey(publicKeyFromSpki(fromBase64(spki)))
    const authorities = purpose === 'ssh-user' ? ssh.userAuthorities : ssh.hostAuthorities
    const named = authorities.find(({ key }) => key === line)
    return !named || named.state === state
  }

  #revokedRow(id: string, row: string, revoked: Revoked): string | undefined {
    const [authority = '', serial = ''] = id.slice('revoked:'.length).split(' ')
    const until = parsed(row)
    const isNumber = /^[0-9]+$/.test(serial)
    if (!isNumber || !holds(revoked.get(authority), { from: BigInt(serial), to: BigInt(serial) }))
      return 'is in the database, and no record says so'
    // Of the canary there is none.
    const end = this.#ends.get(id)
    return end === undefined || until === end
      ? undefined
      : "is not in the database as the certificate's own record says"
  }

  #missing(lasting: (prefix: string) => string[]): string[] {
    const kinds = STATE_KINDS.filter(kind => kind !== 'revoked' && kind !== 'krl-version' && kind !== 'authority-key')
    const missing = kinds.flatMap(kind => lasting(idsOf(kind)).filter(id => !this.#rows.has(id)))
    // A server that was behind may have left older versions in the log; the row has the newest.
    const newest = newestVersion(lasting('krl-version:'))
    const isThere = [...this.#rows.keys()].some(id => id.startsWith('krl-version:'))
    if (newest && !isThere) missing.push(newest)
    // One that was made and has no row is used by nobody; one that the root has signed has one.
    const signed = this.#signed()
    for (const [own, label] of this.#labels)
      if (signed.has(own) && !this.#rows.has(`authority-key:${label}`)) missing.push(`authority-key:${label}`)
    return missing
  }

  /** Fingerprints of the authority keys that the bundle names. */
  #signed(): Set<string> {
    const { ssh, x509 } = this.#bundle
    const keys = [...ssh.userAuthorities, ...ssh.hostAuthorities].map(({ key }) => parsePublicKey(key))
    const roots = x509.map(({ certificate }) => publicKeyFromSpki(fromBase64(spkiOf(certificate))))
    return new Set([...keys, ...roots].map(fingerprint))
  }

  /** `by`: what says so. */
  #missingRevoked(lasting: (prefix: string) => string[], pruned: Revoked): { id: string; by: string }[] {
    return readRevoked(lasting).flatMap(({ id: by, authority, from, to, until }) => {
      if (until === undefined || to - from > MOST_REVOKED_ROWS) return []
      const missing: { id: string; by: string }[] = []
      for (let serial = from; serial <= to; serial++) {
        const id = `revoked:${authority} ${serial}`
        if (!this.#rows.has(id) && !holds(pruned.get(authority), { from: serial, to: serial })) missing.push({ id, by })
      }
      return missing
    })
  }

  /** What hosts refuse by, against what was revoked: nothing may be missing, and nothing more be there. */
  *#krlFaults(lasting: (prefix: string) => string[], possible: (prefix: string) => string[]): Generator<string> {
    const { version, generatedAt, certificates, fingerprints } = this.#krl
    const { id } = versionFact(version, generatedAt)
    if (!possible('krl-version:').includes(id)) yield `has the version ${version}, which no record says`
    const listed = new Map<string, readonly Interval[]>()
    for (const { authority, serials } of certificates) {
      const own = authority && this.#labels.get(fingerprint(authority))
      if (own === undefined) yield 'names the certificates of an authority that no record says'
      else listed.set(own, merged(serials))
    }
    for (const { authority, from, to } of readRevoked(lasting))
      if (!holds(listed.get(authority), { from, to }))
        yield `lacks ${from === to ? `serial ${from}` : `serials ${from} to ${to}`} of ${authority}, which was revoked`
    const known = intervalsOf(possible)
    for (const [authority, serials] of listed) {
      // The canary of each user authority is on it whatever anybody says.
      const said = merged([{ from: CANARY, to: CANARY }, ...(known.get(authority) ?? [])])
      for (const range of serials)
        if (!holds(said, range))
          yield `has serials ${range.from} to ${range.to} of ${authority}, not all of which were revoked`
    }
    const keys = new Set(fingerprints.map(bytes => `SHA256:${toBase64(bytes).replace(/=$/, '')}`))
    for (const key of keysOf(lasting)) if (!keys.has(key)) yield `lacks the key ${key}, which was revoked`
    const maybe = new Set(keysOf(possible))
    for (const key of keys) if (!maybe.has(key)) yield `has the key ${key}, which was not revoked`
  }
}

export type StateShown = {
  /** The size of a head that was signed before anything of it was read. */
  readonly since: bigint
  /** The auditor's own time before that head was asked for. */
  readonly readAt: Date
  readonly rows: readonly StateRow[]
  /** What hosts refuse by; its signature was verified. */
  readonly krl: Krl
  /** The newest that the root of trust has signed. */
  readonly bundle: TrustBundle
}

const PASSKEYS_ENDED = 'passkeys-ended:'
const NAMES_MORE = /"kind":"(authority-key-created|revoked|log-adopted)"|"certificate":\{/

/** What a server gives is read as anything else: no JSON is nothing that a record says. */
function parsed(row: string): JsonValue {
  try {
    return z.json().parse(JSON.parse(row))
  } catch {
    return null
  }
}

function keyDigest({ purpose, spki }: z.infer<typeof keySaid>): string {
  try {
    return digestOf({ purpose, fingerprint: fingerprint(publicKeyFromSpki(fromBase64(spki))) })
  } catch {
    return ''
  }
}
function digestIfAny(is: JsonValue): string {
  try {
    return digestOf(is)
  } catch {
    return ''
  }
}
const spkiOf = (certificate: string): string =>
  new X509Certificate(certificate).publicKey.export({ format: 'der', type: 'spki' }).toString('base64')

/** By authority, merged. */
type Revoked = ReadonlyMap<string, readonly Interval[]>
const intervalsOf = (ids: (prefix: string) => Iterable<string>): Revoked =>
  new Map([...Map.groupBy(readRevoked(ids), ({ authority }) => authority)].map(([of, all]) => [of, merged(all)]))
const keysOf = (ids: (prefix: string) => Iterable<string>): string[] => [
  ...revokedKeys(ids),
  ...revokedSessionKeys(ids).map(key => key.fingerprint),
]

/** Whether one of these, merged, holds all of it: by halves, since there may be a hundred thousand. */
function holds(intervals: readonly Interval[] = [], { from, to }: Interval): boolean {
  let low = 0
  for (let high = intervals.length; low < high; ) {
    const middle = (low + high) >> 1
    if ((intervals[middle]?.to ?? 0n) < from) low = middle + 1
    else high = middle
  }
  const found = intervals[low]
  return found !== undefined && found.from <= from && to <= found.to
}

function newestVersion(ids: readonly string[]): string | undefined {
  const number = (id: string) => BigInt(/:(\d+) /.exec(id)?.[1] ?? '0')
  return ids.toSorted((a, b) => (number(a) < number(b) ? 1 : -1))[0]
}
