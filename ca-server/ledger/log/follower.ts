import { z } from 'zod'
import { incarnationNumber, type Queryable } from '#server/store/index.ts'
import { Facts } from '#shared/audit/index.ts'
import { equalBytes, fromHex, toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  inclusionProof,
  leafHash,
  type Tile,
  type TileReader,
  TreeEdge,
  verifyInclusion,
} from '#shared/merkle/index.ts'
import { tampered } from '../errors.ts'
import type { LogMemory } from './memory.ts'
import { isSealed, type Sealable } from './seal.ts'

export type FollowerDeps = {
  readonly store: Queryable & { readonly incarnation: string }
  readonly sealKey: Uint8Array
  readonly readTile: TileReader
  readonly memory?: LogMemory | undefined
  readonly now: () => Date
}

/** A head that the log has to come by: what somebody trusted said of it. */
export type KnownHead = { readonly size: bigint; readonly root: Uint8Array; readonly name: string }

/** What stands in an adoption's record (`adopt.ts`): the log of an earlier release, which had no seals. */
const adoption = z.object({
  kind: z.literal('log-adopted'),
  details: z.object({ records: z.string().transform(BigInt), root: z.string() }),
})

type LogRow = Sealable & { readonly index: bigint; readonly seal: Uint8Array | null }

// By hand: each record of a busy server passes here, and the statement below is its only source.
const row = {
  parse(value: unknown): LogRow {
    if (typeof value !== 'object' || value === null) throw new TypeError('a row is an object')
    const { index, request_id, kind, part, actor, at, record, proof, seal }: Record<string, unknown> = { ...value }
    if (
      typeof index !== 'bigint' ||
      typeof request_id !== 'string' ||
      typeof kind !== 'string' ||
      typeof part !== 'number' ||
      typeof actor !== 'string' ||
      !(at instanceof Date) ||
      typeof record !== 'string' ||
      !(typeof proof === 'string' || proof === null) ||
      !(seal instanceof Uint8Array || seal === null)
    )
      throw tampered('a row of the audit log is none')
    return {
      index,
      requestId: request_id,
      kind,
      part,
      actor,
      at: at.toISOString(),
      record,
      proof: proof ?? undefined,
      seal,
    }
  },
}

/** What this process put into the log. */
export type Written = Sealable & { readonly seal: Uint8Array }

const isSameRow = (own: Written, found: Sealable, seal: Uint8Array): boolean =>
  own.requestId === found.requestId &&
  own.kind === found.kind &&
  own.part === found.part &&
  own.actor === found.actor &&
  own.at === found.at &&
  own.proof === found.proof &&
  own.record === found.record &&
  equalBytes(own.seal, seal)

/** Records that were looked at, and not taken in yet. */
export type Step = {
  readonly from: bigint
  readonly to: bigint
  readonly tiles: readonly Tile[]
  /** Of the records, in their order; undefined where one has none. */
  readonly seals: readonly (Uint8Array | undefined)[]
  take(): void
}

/** How much of the log this process has read, and what it says. */
type Read = { readonly edge: TreeEdge; readonly facts: Facts }

/**
 * Reads the log as it grows, every record of it and in order, and believes a record only if its seal is ours. So nobody who
 * merely owns the database can add to what the log says, nor leave anything out of it unnoticed: a place that is empty, a
 * record that is another one, a log that is shorter than it was are each found at the next look.
 */
export class Follower {
  readonly #deps: FollowerDeps
  #read: Read = { edge: TreeEdge.empty(), facts: Facts.none() }
  /** The first records may have no seal, if a sealed one then takes over just these. */
  #unsealed = false
  #heads: KnownHead[] = []
  /** What this process wrote and has not read again: its own word for what has to stand there. */
  readonly #written = new Map<bigint, Written>()
  #writtenTo = 0n
  /** The same of what has been read before its writing was heard of, or never was there. */
  #unproven: { readonly index: bigint; readonly written: Written }[] = []
  #newestAt: Date | undefined
  readonly #listeners = new Set<(ids: readonly string[]) => void>()

  constructor(deps: FollowerDeps) {
    this.#deps = deps
  }

  get facts(): Facts {
    return this.#read.facts
  }
  get edge(): TreeEdge {
    return this.#read.edge
  }
  /** When the newest record that this process has read was made, by whoever made it. */
  get newestAt(): Date | undefined {
    return this.#newestAt
  }
  get size(): bigint {
    return this.edge.size
  }

  /**
   * Begins where this server's memory ends; `heads` are trusted heads that the log has to come by. With `anew` a memory of an
   * earlier history is given up, because an operator trusts a checkpoint of this one. Throws `internal`.
   */
  async begin(committed: bigint, heads: readonly KnownHead[], anew: boolean): Promise<void> {
    const { readTile } = this.#deps
    const memory = this.#remembered(anew)
    const head = memory?.head()
    const state = memory?.state()
    const known = head
      ? [{ size: head.size, root: fromHex(head.root), name: 'the log that this server remembers' }]
      : []
    this.#heads = [...known, ...heads].toSorted((a, b) => (a.size < b.size ? -1 : a.size > b.size ? 1 : 0))
    const longest = this.#heads.at(-1)
    if (longest && longest.size > committed)
      throw rolledBack(`the database holds ${committed} records, but ${longest.name} has ${longest.size}`)
    let edge = TreeEdge.empty()
    if (state) {
      edge = await TreeEdge.load(state.size, readTile).catch((cause: unknown) => {
        throw tampered(`the audit log's tree of ${state.size} records is not there any more`, cause)
      })
      if (!equalBytes(edge.root(), fromHex(state.root)))
        throw tampered(`the audit log's tree of ${state.size} records is not the one that this server remembers`)
    }
    this.#unsealed = state === undefined
    this.#heads = this.#heads.filter(({ size }) => size >= edge.size)
    this.#read = { edge, facts: state ? Facts.from(state.facts) : Facts.none() }
    this.#assertHeads()
  }

  #remembered(anew: boolean): LogMemory | undefined {
    const { store, memory } = this.#deps
    const kept = memory?.head() ?? memory?.state()
    if (!kept || kept.incarnation === store.incarnation) return memory
    const isNewer = incarnationNumber(store.incarnation) > incarnationNumber(kept.incarnation)
    if (isNewer && anew) return undefined
    const what = `the database is of another history (${store.incarnation}) than this server knows`
    if (!isNewer) throw rolledBack(what)
    throw new KeymanError('internal', what, {
      hint: 'was it restored by keyman-server restore on another server? Then: keyman-server start --checkpoint FILE, with the checkpoint that it has written there',
    })
  }

  /**
   * What was written and must be found again: called when the statement has come back, or the transaction was committed. At which
   * place says the database, which may name one that another record has.
   */
  wrote(index: bigint, written: Written): void {
    const other = this.#written.get(index)
    if (index < this.size || (other && !equalBytes(other.seal, written.seal))) this.#unproven.push({ index, written })
    else this.#written.set(index, written)
    if (index >= this.#writtenTo) this.#writtenTo = index + 1n
  }
  /** That what was said to stand where this process has read on is what it read there. Throws `internal`. */
  async prove(): Promise<void> {
    const { edge } = this
    const due = this.#unproven.filter(({ index }) => index < edge.size)
    if (due.length === 0) return
    this.#unproven = this.#unproven.filter(({ index }) => index >= edge.size)
    const root = edge.root()
    for (const { index, written } of due) {
      const proof = await inclusionProof(index, edge.size, this.#deps.readTile).catch(() => [])
      if (!verifyInclusion(leafHash(utf8(written.record)), index, edge.size, proof, root))
        throw tampered(`record ${index} of the audit log is not what this server wrote: its own is not there`)
    }
  }
  /** How long the log has to be, by what this process wrote itself: a view of yesterday's log is shorter. */
  written(): bigint {
    return this.#writtenTo
  }

  onFacts(listener: (ids: readonly string[]) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Looks at the next records, at most `limit`: the tiles that they make, and what takes them in. Nothing is taken in before the
   * caller says so: another server may meanwhile have put them into the tree. Throws `internal` where one is not ours.
   */
  async look(limit: bigint): Promise<Step | undefined> {
    const { edge, facts } = this.#read
    const [next] = this.#heads
    const upTo = next && next.size > edge.size && next.size - edge.size < limit ? next.size - edge.size : limit
    const rows: LogRow[] = await this.#deps.store.query(
      `select index, request_id, kind, part, actor, at, record, proof, seal from ledger_record
       where index >= $1 and index < $1 + $2 order by index`,
      [edge.size, upTo],
      row,
    )
    // An adoption stands alone at its place: what it says is of the tree before it.
    const sealed = this.#unsealed ? rows.findIndex(({ seal }) => seal !== null) : -1
    const looked = sealed > 0 ? rows.slice(0, sealed) : rows
    if (looked.length === 0) return undefined
    const grown = edge.copy()
    const hashes = looked.map((found, n) => {
      this.#assertOurs(found, edge, BigInt(n))
      return leafHash(utf8(found.record))
    })
    const tiles = grown.append(hashes)
    const take = () => {
      this.#read = { edge: grown, facts }
      const changed: string[] = []
      const past = edge.copy()
      for (const found of looked) {
        const rootBefore = (): string => {
          past.append(hashes.slice(Number(past.size - edge.size), Number(found.index - edge.size)))
          return toHex(past.root())
        }
        // What was heard of since this was read.
        this.#assertWritten(found)
        this.#written.delete(found.index)
        this.#newestAt = new Date(found.at)
        // What has no seal says nothing: what it made is said by the record that takes it over.
        if (found.seal) changed.push(...this.#takeFacts(facts, found, rootBefore))
      }
      this.#assertHeads()
      if (changed.length > 0) for (const listener of this.#listeners) listener(changed)
    }
    return { from: edge.size, to: grown.size, tiles, seals: looked.map(({ seal }) => seal ?? undefined), take }
  }

  /** What this server should remember of it. */
  kept(): { incarnation: string; size: bigint; root: string } {
    return { incarnation: this.#deps.store.incarnation, size: this.size, root: toHex(this.edge.root()) }
  }

  #assertOurs(found: LogRow, edge: TreeEdge, offset: bigint): void {
    const { index, seal } = found
    if (index !== edge.size + offset)
      throw tampered(`record ${edge.size + offset} of the audit log is missing, and was not in the tree yet`)
    const own = this.#assertWritten(found)
    if (seal === null) {
      if (this.#unsealed) return
      throw tampered(`record ${index} of the audit log has no seal: no server of this organisation wrote it`)
    }
    // The very row that was sealed here: its seal need not be made once more.
    if (!(own && isSameRow(own, found, seal)) && !isSealed(this.#deps.sealKey, found, seal))
      throw tampered(`the seal of record ${index} of the audit log does not fit: somebody else wrote or changed it`)
    if (this.#unsealed) this.#endUnsealed(found, edge)
  }

  #assertWritten({ index, record }: LogRow): Written | undefined {
    const own = this.#written.get(index)
    if (own && own.record !== record) throw tampered(`record ${index} of the audit log is not what this server wrote`)
    return own
  }

  /** The first record with a seal: if records without one stand before it, it has to say which. */
  #endUnsealed({ index, record }: LogRow, edge: TreeEdge): void {
    this.#unsealed = false
    if (index === 0n) return
    const adopted = adoption.safeParse(JSON.parse(record))
    const root = toHex(edge.root())
    if (!adopted.success || adopted.data.details.records !== index || adopted.data.details.root !== root)
      throw tampered(`the first ${index} records of the audit log have no seal`)
  }

  #takeFacts(facts: Facts, { index, record }: LogRow, rootBefore: () => string): readonly string[] {
    try {
      return facts.take(index, record, rootBefore)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw tampered(`record ${index} of the audit log is an old one, written once more: ${why}`)
    }
  }

  #assertHeads(): void {
    const { edge } = this
    for (; this.#heads[0]?.size === edge.size; this.#heads.shift())
      if (!equalBytes(edge.root(), this.#heads[0].root))
        throw tampered(`the first ${edge.size} records of the audit log are not those of ${this.#heads[0].name}`)
  }
}

/** A database that knows less than was known: a backup was put back, or somebody took rows away. */
export const rolledBack = (message: string): KeymanError => new KeymanError('internal', message, { hint: RESTORE })
/** The same, seen by others while this server serves: so everybody is told. */
export const recordsLost = (message: string): KeymanError => new KeymanError('unavailable', message, { hint: RESTORE })
const RESTORE =
  'if a backup was restored: keyman-server restore; else keep the database as it is, and run keyman audit verify from a laptop'
