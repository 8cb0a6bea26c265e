import type { Agent, StateFrame } from '#agent/keeper/handle-frame.ts'
import { Keeper } from '#agent/keeper/keeper.ts'

/** Has an agent do what a frame asks, and gives the revision that is in force; throws what the agent would tell the server. */
export async function handleFrame(agent: Agent, frame: StateFrame): Promise<number | undefined> {
  const word = await new Keeper(agent).take(frame)
  if (word?.type === 'failed') throw new Error(word.message)
  return word?.revision
}
