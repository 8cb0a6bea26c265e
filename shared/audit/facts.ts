/**
 * Pure: what the log says is so. A row of the database that lets somebody in counts only if it equals the newest record about
 * it; each record therefore names the facts that its change made, by a hash of what the row then says, and whoever reads the
 * whole log in order knows of each fact the newest.
 */
import { z } from 'zod'
import { digestOf, type JsonValue } from '../canonical-json.ts'
import { endedId, endOf, isEndedWithAll, passkeyEnd, passkeyOfId, resetLinkId } from './ended.ts'
import { placeIdOf } from './place-of.ts'
import { factSaid } from './record.ts'
import { workloadSessionId } from './said.ts'

/** `id` as `person:alice@example.com`; `is` what the row says, in what matters, or null where it is gone. */
export type Fact = {
  readonly id: string
  readonly is: JsonValue
  /** When it ends by itself: after that nobody is let in by it, so nothing has to be remembered of it. */
  readonly until?: Date | undefined
}

const factsOfRecord = z.looseObject({
  kind: z.string(),
  requestId: z.string(),
  actor: z.looseObject({
    identity: z.string().optional(),
    session: z.string().optional(),
    consent: z.string().optional(),
  }),
  /** By whose invitation somebody was enrolled, or a host joined. */
  details: z.looseObject({ invitedBy: z.string().optional() }).optional(),
  /** IDs of the passkeys that a yes to somebody who was reset is a yes to. */
  confirmed: z.array(z.string()).optional(),
  after: z.string().transform(BigInt),
  place: z.int().nonnegative().default(0),
  facts: z.record(z.string(), factSaid),
  /** Records of earlier releases have none. */
  root: z.string().optional(),
  sinceEnd: z.string().optional(),
  target: z.string().optional(),
})
type Saying = z.infer<typeof factsOfRecord>

/** IDs that are random, so that nothing gets the one of another: what is gone never comes back. */
const GIVEN_ONCE = /^(session|passkey|link|grant|host|join-token|touch|workload|workload-token|workload-session):/
/** That something was used; it is used once. */
const USED = /^(assertion|touch-used):/
/** Whose a name is: nobody gets one that another has. */
const NAME = /^workload-name:/
/** Records of what uses up all that they say is gone. */
const USING_UP = new Set(['enrolled', 'host-joined', 'workload-joined'])
/** Of these each has a number above all before it: who has one number never looks for another content under it. */
const NUMBERED = /^(krl-version:)(\d+) /

/**
 * That a change failed, or that nobody knows: its records are not in the log, or stand there already, and never come later. A database may
 * keep what it was given, say that it failed, and put it there when it suits.
 */
export const failedId = (requestId: string): string => `failed:${requestId}`
export const failedFact = (requestId: string): Fact => ({ id: failedId(requestId), is: 'failed' })

export function encodeFacts(facts: readonly Fact[]): { readonly [id: string]: JsonValue } {
  const entries = facts.map(({ id, is, until }): [string, JsonValue] => {
    const digest = is === null ? null : digestOf(is)
    return [id, until ? [digest, Math.ceil(until.getTime() / 1000)] : digest]
  })
  if (new Set(entries.map(([id]) => id)).size < entries.length) throw new TypeError('a record says one thing twice')
  return Object.fromEntries(entries)
}

type Known = {
  /** Null: it is gone. Kept, so that an older record about it is known to be older. */
  readonly digest: string | null
  /** Seconds since 1970. */
  readonly until: number | undefined
  /** The record that said so. */
  readonly index: bigint
}

/** As they are kept outside of the database: `[id, digest, index, until?]`. */
export const factsKept = z.array(
  z.union([
    z.tuple([z.string(), z.string().nullable(), z.string()]),
    z.tuple([z.string(), z.string().nullable(), z.string(), z.int()]),
  ]),
)

/** A week after its end nothing asks for a fact any more, even by a clock that is days off. */
const KEEP_ENDED_S = 7 * 86_400

/** What an ID begins with, the colon too; all of it where there is none. */
const kindOf = (id: string): string => id.slice(0, id.indexOf(':') + 1 || undefined)

export class Facts {
  readonly #known = new Map<string, Known>()
  /** What there is, by kind: the KRL is looked for at each host's state, and must not cost a look at everything. */
  readonly #there = new Map<string, Set<string>>()
  /** Of what is numbered the highest number that was ever said, by kind. */
  readonly #highest = new Map<string, bigint>()

  private constructor() {}

  static none(): Facts {
    return new Facts()
  }

  static from(kept: z.infer<typeof factsKept>): Facts {
    const facts = new Facts()
    for (const [id, digest, index, until] of kept) facts.#set(id, { digest, index: BigInt(index), until })
    return facts
  }

  #set(id: string, known: Known): void {
    this.#known.set(id, known)
    const kind = kindOf(id)
    const there = this.#there.get(kind) ?? new Set()
    this.#there.set(kind, there)
    if (known.digest === null) there.delete(id)
    else there.add(id)
    const [, numbered, number] = NUMBERED.exec(id) ?? []
    if (numbered && number && BigInt(number) > (this.#highest.get(numbered) ?? -1n))
      this.#highest.set(numbered, BigInt(number))
  }

  /**
   * Takes in what the record at `index` says; gives the IDs. What can not be so where the database did as it was told throws RangeError: see
   * `#assertPossible`. `rootBefore`: of the tree of all records before it, hex.
   */
  take(index: bigint, record: string, rootBefore?: () => string): readonly string[] {
    // A quotation mark inside of a string is written with a backslash: this finds members only.
    if (!record.includes('"facts":{')) return []
    const parsed = factsOfRecord.safeParse(JSON.parse(record))
    if (!parsed.success) return []
    const { facts } = parsed.data
    const { root } = parsed.data
    // Whatever the database said that the log was when it was made, it is of that log alone: none that is kept back is for a later one.
    if (root !== undefined && rootBefore && root !== rootBefore())
      throw new RangeError('it was made to come after other records')
    this.#assertPossible(index, parsed.data)
    for (const [id, value] of Object.entries(facts)) {
      const [digest, until] = Array.isArray(value) ? value : [value, this.#known.get(id)?.until]
      this.#set(id, { digest, until, index })
    }
    return Object.keys(facts)
  }

  /**
   * A server writes such records under locks that keep two from saying what contradicts each other, and looks beforehand whether
   * whoever acts still may. Locks and looks are the database's word; what comes of them in the log is not. So each server holds each record
   * against all that was said before it, whoever wrote it.
   */
  #assertPossible(
    index: bigint,
    { kind, requestId, actor, details, after, place, facts, sinceEnd, target, confirmed }: Saying,
  ): void {
    // Made for this very place, while the log's end was locked: one that was kept back, or is written once more, stands elsewhere.
    if (index !== after + BigInt(place)) throw new RangeError(`it was made to be record ${after + BigInt(place)}`)
    if (this.has(failedId(requestId))) throw new RangeError(`it is of ${requestId}, which failed before`)
    const { identity, session, consent } = actor
    if (identity !== undefined && session !== undefined && this.#hadEnded(session, identity, after))
      throw new RangeError(`it was done in the session ${session}, which had ended`)
    if (consent?.startsWith('mandate_') && this.#isGoneBefore(`mandate:${session}`, after))
      throw new RangeError(`it was done by ${consent}, which had ended`)
    const end = endOf({ kind, actor, target, sinceEnd })
    if (end && end.at !== (this.saidAt(end.id)?.toString() ?? ''))
      throw new RangeError(`it was consented to before all that ${end.id.slice(endedId('').length)} had was ended`)
    const unseen = target && confirmed && this.passkeyBeside(target, confirmed)
    if (unseen) throw new RangeError(`it is a yes to passkeys of ${target}, who had ${unseen} too`)
    for (const [id, value] of Object.entries(facts)) {
      const known = this.#known.get(id)
      const isGone = (Array.isArray(value) ? value[0] : value) === null
      if (GIVEN_ONCE.test(id) && known?.digest === null && !isGone)
        throw new RangeError(`it says that there is ${id}, which was gone`)
      if (NAME.test(id) && this.has(id) && !isGone) throw new RangeError(`it gives ${id}, which another has`)
      if (USED.test(id) && known) throw new RangeError(`it says that ${id} was used, which was used before`)
      const inviter = details?.invitedBy
      const isOver = !this.has(id) || (inviter !== undefined && isEndedWithAll(this, id, inviter))
      if (USING_UP.has(kind) && isGone && isOver) throw new RangeError(`it uses ${id}, which is not there, or was used`)
      const person = `person:${identity}`
      if (kind === 'enrolled' && isGone && !(person in facts))
        for (const newer of [person, resetLinkId(identity ?? '')])
          if (this.isOlder(id, newer))
            throw new RangeError(`it uses ${id}, which was made before something was said of ${newer}`)
      const [, numbered, number] = NUMBERED.exec(id) ?? []
      const highest = numbered && !isGone ? this.#highest.get(numbered) : undefined
      if (highest !== undefined && highest >= BigInt(number ?? ''))
        throw new RangeError(`it says ${id} after ${numbered}${highest}`)
    }
  }

  /** The ID of a passkey that this person has and that is none of these. */
  passkeyBeside(person: string, ids: readonly string[]): string | undefined {
    const before = passkeyOfId(person, '')
    for (const each of this.ids('passkey-of:')) {
      const id = each.slice(before.length)
      if (each.startsWith(before) && !ids.includes(id) && passkeyEnd(this, { id, person }) === undefined) return id
    }
    return undefined
  }

  /** Whether it was said to be gone when the log was so long. */
  #isGoneBefore(id: string, size: bigint): boolean {
    const known = this.#known.get(id)
    return known?.digest === null && known.index < size
  }

  /** Whether a session, of a person or a workload, had ended when the log was so long. One that is not known is new. */
  #hadEnded(session: string, whose: string, before: bigint): boolean {
    if (this.#isGoneBefore(workloadSessionId(whose, session), before)) return true
    const id = `session:${session}`
    const known = this.#known.get(id)
    if (known?.digest === null) return known.index < before
    const ended = this.#known.get(endedId(whose))
    return known !== undefined && ended !== undefined && ended.index < before && isEndedWithAll(this, id, whose)
  }

  /** Whether the newest record about it says just this; of what is in a place, that this is the one that it said it of: see `placeIdOf`. */
  holds({ id, is }: Pick<Fact, 'id' | 'is'>): boolean {
    const known = this.#known.get(id)
    if (known === undefined || known.digest === null || is === null || known.digest !== digestOf(is)) return false
    const place = placeIdOf(id, is)
    return place === undefined || (this.has(place) && !this.isOlder(id, place))
  }

  /** Whether the log says that there is such a thing, whatever it is. */
  has(id: string): boolean {
    return typeof this.#known.get(id)?.digest === 'string'
  }

  /** Whether the log ever said anything of it, that it is gone too. */
  knows(id: string): boolean {
    return this.#known.has(id)
  }

  /** Whether it said that there was such a thing, and then that it is gone. */
  isGone(id: string): boolean {
    return this.knows(id) && !this.has(id)
  }

  /** The record that said the newest of it. */
  saidAt(id: string): bigint | undefined {
    return this.#known.get(id)?.index
  }

  /** Whether the newest that was said of the one was said before the newest of the other. */
  isOlder(id: string, than: string): boolean {
    const [one, other] = [this.#known.get(id), this.#known.get(than)]
    return other !== undefined && (one === undefined || one.index < other.index)
  }

  /** The IDs of all that there are of this kind, which ends in a colon, such as `grant:`. */
  ids(kind: string): Iterable<string> {
    return this.#there.get(kind) ?? []
  }

  forgetEnded(now: Date): void {
    const before = Math.floor(now.getTime() / 1000) - KEEP_ENDED_S
    for (const [id, { until }] of this.#known) {
      if (until === undefined || until >= before) continue
      this.#known.delete(id)
      this.#there.get(kindOf(id))?.delete(id)
    }
  }

  kept(): z.infer<typeof factsKept> {
    return [...this.#known].map(([id, { digest, index, until }]) =>
      until === undefined ? [id, digest, index.toString()] : [id, digest, index.toString(), until],
    )
  }
}
