import { z } from 'zod'
import type { Pins } from '#server/pins/index.ts'
import { factsKept } from '#shared/audit/index.ts'

const bigintText = z
  .string()
  .regex(/^(0|[1-9][0-9]*)$/)
  .transform(BigInt)
const hex32 = z.string().regex(/^[0-9a-f]{64}$/)

/** The longest log that this server has seen: whatever the database says later must go on from it. */
export const keptHead = z.strictObject({ incarnation: z.string(), size: bigintText, root: hex32 })
/** What that log said at one size: read at a start instead of the whole log. */
export const keptState = z.strictObject({ ...keptHead.shape, facts: factsKept })
export type KeptHead = z.infer<typeof keptHead>
export type KeptState = z.infer<typeof keptState>

/**
 * What a server remembers of its log outside of the database, each server its own: whoever owns the database can cut the log
 * or put an older one there, and this notices. Where an embedded database lies beside it, who can change the one can change
 * the other: then it is for laptops and hosts to notice, which hold checkpoints of their own.
 */
export interface LogMemory {
  head(): KeptHead | undefined
  state(): KeptState | undefined
  keepHead(head: KeptHead): Promise<void>
  keepState(state: KeptState): Promise<void>
}

/** In two files of the data folder: the head, which changes each second, and what the log says, which is larger. */
export async function openLogMemory(pins: Pins): Promise<LogMemory> {
  const head = await pins.read('log-head', keptHead)
  const state = await pins.read('log-state', keptState)
  return {
    head: () => head,
    state: () => state,
    keepHead: kept => pins.write('log-head', { ...kept, size: kept.size.toString() }),
    keepState: kept => pins.write('log-state', { ...kept, size: kept.size.toString() }),
  }
}
