/**
 * Pure: whether each record that says something of rows can be so, by the rules by which servers go on or stop (`facts.ts`): it was made for
 * this place, after just these records, by somebody whose session had not ended; what was used was there, and what failed never counts.
 */
import { z } from 'zod'
import { toHex, utf8 } from '../bytes.ts'
import { leafHash, TreeEdge } from '../merkle/index.ts'
import type { Remark } from './assertions.ts'
import { Facts } from './facts.ts'
import { readRecord } from './record.ts'

export type FactsReport = {
  /** Those that hold in all. */
  readonly good: number
  readonly failed: readonly Remark[]
  /** Those that do not hold what it would take: no word that they are good. */
  readonly notCheckable: readonly Remark[]
}

const UNREADABLE = 'what it says of rows cannot be read'

const adoption = z.looseObject({ records: z.string(), root: z.string(), part: z.int().nonnegative() })

/** Takes in the records of a log in their order, all of them. */
export class FactsAudit {
  /** What the log says so far. */
  readonly facts: Facts = Facts.none()
  readonly #edge = TreeEdge.empty()
  #good = 0
  readonly #failed: Remark[] = []
  readonly #notCheckable: Remark[] = []

  /** Gives the IDs of what it says something of; none of a record that fails, which counts for nobody. */
  take(index: bigint, text: string): readonly string[] {
    const said = this.#judge(index, text)
    this.#edge.append([leafHash(utf8(text))])
    return said
  }

  report(): FactsReport {
    return { good: this.#good, failed: this.#failed, notCheckable: this.#notCheckable }
  }

  #judge(index: bigint, text: string): readonly string[] {
    // A quotation mark inside of a string is written with a backslash: this finds members only.
    const mentions = text.includes('"facts":{')
    const record = mentions || text.includes('"log-adopted"') ? readRecord(text) : undefined
    const isAdoption = record?.kind === 'log-adopted'
    const kind = record?.kind ?? 'unknown'
    const other = isAdoption ? this.#otherLog(index, record.details) : undefined
    if (other !== undefined) {
      this.#failed.push({ index, kind, message: other })
      return []
    }
    if (!mentions) return []
    if (!record) {
      this.#notCheckable.push({ index, kind, message: 'it is not written as a record is' })
      return []
    }
    const root = () => toHex(this.#edge.root())
    let said: readonly string[]
    try {
      said = this.facts.take(index, text, root)
    } catch (error) {
      if (error instanceof RangeError) this.#failed.push({ index, kind, message: error.message })
      // A number that is none.
      else if (error instanceof SyntaxError) this.#notCheckable.push({ index, kind, message: UNREADABLE })
      else throw error
      return []
    }
    const lacking = !isAdoption && record.root === undefined
    if (said.length === 0) this.#notCheckable.push({ index, kind, message: UNREADABLE })
    else if (lacking)
      this.#notCheckable.push({ index, kind, message: 'it does not hold after which records it was made' })
    else this.#good++
    return said
  }

  /** What servers take over once: a log of an earlier release, none of whose records says anything of rows. */
  #otherLog(index: bigint, details: unknown): string | undefined {
    const parsed = adoption.safeParse(details).data
    const first = parsed && index - BigInt(parsed.part)
    if (!parsed || parsed.records !== String(first)) return 'it takes over another log than the records before it'
    if (parsed.part > 0) return undefined
    if (this.#good + this.#failed.length + this.#notCheckable.length > 0)
      return 'it takes over a log that had begun to say what is so'
    return parsed.root === toHex(this.#edge.root()) ? undefined : 'it takes over another log than the records before it'
  }
}
