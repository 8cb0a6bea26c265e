/**
 * Pure: what the log says is so. A row of the database that lets somebody in counts only if it equals the newest record about
 * it; each record therefore names the facts that its change made, by a hash of what the row then says, and whoever reads the
 * whole log in order knows of each fact the newest.
 */
import { z } from 'zod'
import { factSaid } from '#shared/audit/index.ts'
import { digestOf, type JsonValue } from '#shared/canonical-json.ts'

/** `id` as `person:alice@example.com`; `is` what the row says, in what matters, or null where it is gone. */
export type Fact = {
  readonly id: string
  readonly is: JsonValue
  /** When it ends by itself: after that nobody is let in by it, so nothing has to be remembered of it. */
  readonly until?: Date | undefined
}

const factsOfRecord = z.looseObject({
  after: z.string().transform(BigInt),
  facts: z.record(z.string(), factSaid),
})

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
  }

  /**
   * Takes in what the record at `index` says; gives the IDs. A record names how long the log was when it was made, after
   * everything that it changes was locked: so none about the same can have come in between, and one that did is an old
   * record which somebody wrote once more. Throws RangeError for that.
   */
  take(index: bigint, record: string): readonly string[] {
    // A quotation mark inside of a string is written with a backslash: this finds members only.
    if (!record.includes('"facts":{')) return []
    const parsed = factsOfRecord.safeParse(JSON.parse(record))
    if (!parsed.success) return []
    const { after, facts } = parsed.data
    const ids = Object.keys(facts)
    for (const id of ids) {
      const known = this.#known.get(id)
      if (known && known.index >= after) throw new RangeError(`it says again of ${id} what was said before`)
    }
    for (const [id, value] of Object.entries(facts)) {
      const [digest, until] = Array.isArray(value) ? value : [value, this.#known.get(id)?.until]
      this.#set(id, { digest, until, index })
    }
    return ids
  }

  /** Whether the newest record about it says just this. */
  holds({ id, is }: Pick<Fact, 'id' | 'is'>): boolean {
    const known = this.#known.get(id)
    return known !== undefined && known.digest !== null && is !== null && known.digest === digestOf(is)
  }

  /** Whether the log says that there is such a thing, whatever it is. */
  has(id: string): boolean {
    return typeof this.#known.get(id)?.digest === 'string'
  }

  /** Whether the log ever said anything of it, that it is gone too. */
  knows(id: string): boolean {
    return this.#known.has(id)
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
