import type { Queryable } from '#server/store/index.ts'
import type { Fact, StateKind } from '#shared/audit/index.ts'

/** Of a table in the order of its key: at most so many rows that come after this one. */
export type Page = {
  /** The key, as it stands in the fact's ID after its kind; '' for the first ones. */
  readonly after: string
  readonly limit: number
}
export const WHOLE: Page = { after: '', limit: 2 ** 31 - 1 }

/** A table that lets somebody in, or keeps somebody out, as the facts that its rows state. */
export type StatedRows = {
  readonly kind: StateKind
  /** A row that can't be read is one all the same: it states `UNREADABLE`, which no record says. */
  read(on: Queryable, page?: Page): Promise<readonly Fact[]>
}
export const UNREADABLE = 'unreadable'
