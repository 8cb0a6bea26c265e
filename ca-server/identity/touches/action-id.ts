/** Pure: the ID of a touch that is asked for, which says by itself for what (`sealed-id.ts`): what the page shows is what is signed. */
import { hexOf, isSealedId, makeSealedId } from '../records/sealed-id.ts'

export type AskedAction = {
  readonly session: string
  /** Of the session, as the page shows it. */
  readonly person: string
  readonly device: string
  readonly clientSpki?: Uint8Array | undefined
  readonly action: string
  readonly shown: string
  readonly request: Uint8Array
  readonly askedFrom: string
  readonly endsAt: Date
}

const partsOf = (asked: AskedAction) => [
  ...[asked.session, asked.person, asked.device, hexOf(asked.clientSpki), asked.action, asked.shown],
  ...[hexOf(asked.request), asked.askedFrom, asked.endsAt.toISOString()],
]

export const makeActionId = (key: Uint8Array, random: Uint8Array, asked: AskedAction): string =>
  makeSealedId('action', key, random, partsOf(asked))

export const isAskedAs = (key: Uint8Array, id: string, asked: AskedAction): boolean =>
  isSealedId('action', key, id, partsOf(asked))
