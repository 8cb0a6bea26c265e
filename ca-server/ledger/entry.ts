import { encodeFacts, type Fact, RECORD_KINDS, type RecordKind } from '#shared/audit/index.ts'
import { canonicalJson, type JsonObject } from '#shared/canonical-json.ts'
import { KeymanError } from '#shared/errors.ts'

export { RECORD_KINDS, type RecordKind }

export type Actor =
  /** `consent`: the ID of the touch, or of the mandate, by which it was done. */
  | { kind: 'person'; identity: string; session?: string; consent?: string }
  | { kind: 'host'; name: string }
  /** `identity`: its principal. */
  | { kind: 'workload'; identity: string; session?: string }
  | { kind: 'server' }
  /** Somebody at the machine's own command line. */
  | { kind: 'operator' }
  | { kind: 'anonymous' }

/** Who did what, on what, with which decision and why, from where. Never a secret, nor more personal data than that. */
export type Entry = {
  /** A request may be recorded once with each kind; the server's own retry with the same ID finds its first result. */
  requestId: string
  kind: RecordKind
  actor: Actor
  target?: string
  decision?: 'allow' | 'deny'
  reason?: string
  /** The peer's address. */
  from?: string
  details?: JsonObject
  /** What is so from now on: see `facts.ts`. Only with the change itself, in its transaction. */
  facts?: readonly Fact[]
  /**
   * Of what was decided before it is done: the record by which all that the person had was ended last by then, '' for none. The person who
   * signs in, else the one whom it is done to. Where the log holds a later end before this record, it is not taken.
   */
  sinceEnd?: string
  /**
   * Of a yes to somebody who was reset: the IDs of all passkeys that this is a yes to. Where the log says before this record that the
   * person has another one, it is not taken.
   */
  confirmed?: readonly string[]
}

/** What a certificate's record says of it, and what revoking finds it by. */
export type CertificateFacts = {
  authority: string
  serial: bigint
  keyId: string
  /** `SHA256:…` of the subject key. */
  subjectKey: string
  principals: readonly string[]
  /** Seconds since 1970, half-open: valid from `validAfter` on, not any more at `validBefore`. */
  validAfter: bigint
  validBefore: bigint
  /** A person's identity, or the principal of a workload. */
  person?: string
  session?: string
  host?: string
}

/** Longer records are refused: the log is no place for documents. */
export const MAX_RECORD_LENGTH = 64 * 1024

/** As the column and the filter have it: a person's identity or a workload's principal, `host:NAME`, or the kind. */
export function actorName(actor: Actor): string {
  if ('identity' in actor) return actor.identity
  return actor.kind === 'host' ? `host:${actor.name}` : actor.kind
}

/** Characters of one record's facts; there is as much room left for the rest of it. */
const MAX_FACTS_LENGTH = MAX_RECORD_LENGTH / 2
/** Of a fact beside its ID: digest, end and punctuation. */
const FACT_LENGTH = 70

/**
 * The same in as many entries as its facts take, the first with all the rest: nothing that takes something away may fail because
 * somebody has much. Throws TypeError where one thing is said twice.
 */
export function inRecords(entries: readonly Entry[]): Entry[] {
  const said = new Set<string>()
  return entries.flatMap(entry => {
    const parts: Fact[][] = [[]]
    let length = 0
    for (const fact of entry.facts ?? []) {
      if (said.has(fact.id)) throw new TypeError(`${entry.kind} says something of ${fact.id} twice`)
      said.add(fact.id)
      length += fact.id.length + FACT_LENGTH
      if (length > MAX_FACTS_LENGTH) {
        parts.push([])
        length = fact.id.length + FACT_LENGTH
      }
      parts.at(-1)?.push(fact)
    }
    const [facts = [], ...more] = parts
    // What holds of the first holds of them all, and may itself be an end.
    const { details: _, sinceEnd: __, confirmed: ___, ...rest } = entry
    return [{ ...entry, facts }, ...more.map(part => ({ ...rest, facts: part }))]
  })
}

export type RecordParts = {
  readonly certificate?: { facts: CertificateFacts; bodyHash: string } | undefined
  readonly proof?: string | undefined
  /** How long the log was, read when everything was locked that the entry's facts are about. */
  readonly after?: bigint | undefined
  /** Which of the records that were written together at that place, from 0 on. */
  readonly place?: number | undefined
  /** Of an entry with facts: the root, hex, of the tree of all that is before it. It counts after these very records, and no others. */
  readonly root?: string | undefined
}

/**
 * The record's text, canonical JSON: its UTF-8 bytes are the leaf. The keys below stand in sorted order, so only `details`
 * and `facts` have to be sorted; a test holds the whole against `canonicalJson`. Throws `too-large`.
 */
export function encodeRecord(
  entry: Entry,
  at: string,
  { certificate, proof, after, place = 0, root }: RecordParts = {},
): string {
  const facts = entry.facts && entry.facts.length > 0 ? entry.facts : undefined
  if (facts && after === undefined) throw new TypeError('facts are recorded with the change, in its transaction')
  let text = `{"actor":${JSON.stringify(encodeActor(entry.actor))}`
  if (facts) text += `,"after":"${after}"`
  text += `,"at":"${at}"`
  if (certificate)
    text += `,"certificate":${JSON.stringify(encodeCertificate(certificate.facts, certificate.bodyHash))}`
  if (entry.confirmed) text += `,"confirmed":${JSON.stringify(entry.confirmed)}`
  text += member('decision', entry.decision)
  if (entry.details) text += `,"details":${canonicalJson(entry.details)}`
  if (facts) text += `,"facts":${canonicalJson(encodeFacts(facts))}`
  text += member('from', entry.from) + member('kind', entry.kind)
  if (facts && place > 0) text += `,"place":${place}`
  text += member('proof', proof) + member('reason', entry.reason)
  text += `${member('requestId', entry.requestId)}${member('root', facts && root)}${member('sinceEnd', entry.sinceEnd)}${member('target', entry.target)},"version":1}`
  if (text.length > MAX_RECORD_LENGTH)
    throw new KeymanError('too-large', `a record of ${text.length} characters is longer than ${MAX_RECORD_LENGTH}`)
  return text
}

const member = (key: string, value: string | undefined): string =>
  value === undefined ? '' : `,"${key}":${JSON.stringify(value)}`

function encodeActor(actor: Actor): JsonObject {
  switch (actor.kind) {
    case 'person':
      return { consent: actor.consent, identity: actor.identity, kind: 'person', session: actor.session }
    case 'host':
      return { kind: 'host', name: actor.name }
    case 'workload':
      return { identity: actor.identity, kind: 'workload', session: actor.session }
    default:
      return { kind: actor.kind }
  }
}

const encodeCertificate = (facts: CertificateFacts, bodyHash: string): JsonObject => ({
  authority: facts.authority,
  bodyHash,
  host: facts.host,
  keyId: facts.keyId,
  person: facts.person,
  principals: facts.principals,
  serial: facts.serial.toString(),
  session: facts.session,
  subjectKey: facts.subjectKey,
  validAfter: facts.validAfter.toString(),
  validBefore: facts.validBefore.toString(),
})
