import type { Queryable } from '#server/store/index.ts'
import type { Fact } from '#shared/audit/index.ts'

/** The rows of a room that let somebody in, as the facts that they state. */
export type StatedRows = {
  /** Of these facts: what their IDs begin with, up to the colon. There are no others of these. */
  readonly kinds: readonly string[]
  read(on: Queryable): Promise<readonly Fact[]>
}
