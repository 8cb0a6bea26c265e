import type { Queryable } from '#server/store/index.ts'
import type { Fact } from './facts.ts'

/** The rows of a room that let somebody in, as the facts that they state. */
export type StatedRows = {
  /** What the IDs of these facts begin with: there are no others that begin so. */
  readonly prefixes: readonly string[]
  read(on: Queryable): Promise<readonly Fact[]>
}
