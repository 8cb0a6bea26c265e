import type { hostStream } from '#shared/api/index.ts'
import { readBack, writeDocuments } from './apply-state.ts'
import { checkpointToKeep } from './checkpoint-memory.ts'
import type { AgentConfig } from './config.ts'
import type { Log } from './log.ts'
import { loadMemory } from './memory.ts'
import type { ExpiryStyle } from './principals-file.ts'
import { type Asked, remember, settle } from './settle.ts'
import { heldBundle } from './trust.ts'
import { describe, verifyState } from './verify-state.ts'

/** All that handling a frame needs. `checkpoint` runs ahead of the one on disk by at most one frame. */
export type Agent = {
  readonly config: AgentConfig
  readonly stateFolder: string
  readonly style: ExpiryStyle
  readonly log: Log
  readonly asked: Asked
}

/**
 * Does what a frame asks and gives the revision that is in force afterwards. Throws where anything is refused or fails:
 * what was in force stays. Frames of one host are handled one after the other.
 */
export async function handleFrame(agent: Agent, frame: hostStream.FrameToAgent): Promise<number> {
  const { config, stateFolder, log } = agent
  const memory = loadMemory(stateFolder)
  if (frame.type !== 'state') {
    if (frame.log)
      remember(stateFolder, { checkpoint: checkpointToKeep(frame.log, memory.checkpoint, heldBundle(memory.bundle)) })
    // What others wrote into sshd's configuration meanwhile is seen before anything is called in force.
    if (frame.type === 'current') await settle(agent, agent.asked)
    return memory.revision
  }
  const state = verifyState(frame.state, memory)
  const sameHistory = state.incarnation === memory.incarnation
  if (!sameHistory)
    log.warn(
      `the root of trust has signed a new incarnation (${state.incarnation}): revisions and the log's memory start anew`,
    )
  // A server whose log does not extend the one we remember is not believed about who may log in either.
  // The log of a history that was given up is no beginning of the new one's.
  const remembered = sameHistory ? memory.checkpoint : undefined
  const checkpoint = frame.log ? checkpointToKeep(frame.log, remembered, state.trust.bundle) : remembered
  // Remembered before it is written: wherever this is cut off, no older KRL or bundle is taken afterwards.
  remember(stateFolder, {
    bundle: { document: state.trust.signed.document, signatures: [...state.trust.signed.signatures] },
    incarnation: state.incarnation,
    revision: sameHistory ? memory.revision : 0,
    krlVersion: String(state.krl.version),
    canary: state.canaries.map(canary => canary.line),
    checkpoint,
    filesHash: undefined,
  })
  writeDocuments(state, agent)
  readBack(state, config, agent.style)
  await settle(agent, agent.asked, { written: true })
  remember(stateFolder, { revision: state.revision })
  log.info(`in force: ${describe(state)}`)
  return state.revision
}
