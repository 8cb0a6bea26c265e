import { AsyncLocalStorage } from 'node:async_hooks'
import { StoreError } from './errors.ts'
import type { Parameter, Queryable, RowParser } from './port.ts'

/** Which transaction the running code is inside of. `open` goes false at its end, so that what it left running is free again. */
export type TransactionMark = {
  readonly name: string
  open: boolean
  readonly afterCommit: (() => void)[]
  readonly unlessCommitted: (() => void)[]
}
export const markOf = (name: string): TransactionMark => ({ name, open: true, afterCommit: [], unlessCommitted: [] })
const current = new AsyncLocalStorage<TransactionMark>()

/** Throws where the caller is inside a transaction: its statements would not belong to it, and on PGlite wait for ever. */
export function assertOutsideTransaction(what: string): void {
  const mark = current.getStore()
  if (mark?.open) throw new StoreError('fatal', `${what} inside the transaction ${mark.name}: use its own handle`)
}

/**
 * Runs `work` once the database has said that the transaction around the caller is committed; never where it was rolled back, or
 * where nobody knows. It must not throw.
 */
export function afterCommit(work: () => void): void {
  openMark().afterCommit.push(work)
}
export function committed({ afterCommit }: TransactionMark): void {
  for (const work of afterCommit) work()
}

/** The other way round: where it was rolled back, or nobody knows. */
export function unlessCommitted(work: () => void): void {
  openMark().unlessCommitted.push(work)
}
export function notCommitted({ unlessCommitted }: TransactionMark): void {
  for (const work of unlessCommitted) work()
}

function openMark(): TransactionMark {
  const mark = current.getStore()
  if (!mark?.open) throw new StoreError('fatal', 'there is no transaction to be committed')
  return mark
}

export const runInside = <T>(mark: TransactionMark, work: () => Promise<T>): Promise<T> => current.run(mark, work)

/** A transaction's handle that refuses to work after its end. */
export class Guarded implements Queryable {
  readonly #handle: Queryable
  readonly #mark: TransactionMark
  constructor(handle: Queryable, mark: TransactionMark) {
    this.#handle = handle
    this.#mark = mark
  }
  async query<Row>(sql: string, parameters: readonly Parameter[], row: RowParser<Row>): Promise<Row[]> {
    this.#assertOpen()
    return this.#handle.query(sql, parameters, row)
  }
  async execute(sql: string, parameters: readonly Parameter[]): Promise<number> {
    this.#assertOpen()
    return this.#handle.execute(sql, parameters)
  }
  #assertOpen(): void {
    if (!this.#mark.open) throw new StoreError('fatal', `the transaction ${this.#mark.name} has ended`)
  }
}
