import { setTimeout as delay } from 'node:timers/promises'
import type { hostStream } from '#shared/api/index.ts'
import { told } from '#shared/told.ts'
import type { AgentConfig } from '../config.ts'
import type { Log } from '../log.ts'
import type { Logins } from '../logins/logins.ts'
import type { LoginReport } from '../logins/report.ts'
import { checkpointToKeep } from '../server/checkpoint-memory.ts'
import { heldBundle } from '../server/trust.ts'
import { describe, type VerifiedState, verifyState } from '../server/verify-state.ts'
import type { ExpiryStyle } from '../sshd/principals-file.ts'
import { loadMemory } from '../state/memory.ts'
import { readBack, writeDocuments } from './apply-state.ts'
import { loadDesired, saveDesired } from './desired.ts'
import { keepGivenUp } from './given-up.ts'
import { type Asked, remember, settle } from './settle.ts'

/** This agent: what it was configured as, how it writes for its sshd, and what it knows of the last time it asked. */
export type Agent = {
  readonly config: AgentConfig
  readonly stateFolder: string
  readonly style: ExpiryStyle
  readonly log: Log
  readonly asked: Asked
  /** Who is logged in, where this host sees it. */
  readonly logins?: { readonly seen: Logins; readonly report: LoginReport }
}

/** What a host should have, and the log's memory. */
export type StateFrame = Exclude<hostStream.FrameToAgent, { type: 'names' }>

/**
 * Verifies what a frame says, and remembers it: before anything of it is written, so that wherever this is cut off no older
 * KRL or bundle is taken afterwards. Gives the state that has to be applied, where there is a new one. Throws where this
 * host does not believe the server: what was in force stays.
 */
export function accept(agent: Agent, frame: StateFrame): VerifiedState | undefined {
  const { stateFolder, log } = agent
  const memory = loadMemory(stateFolder)
  if (frame.type !== 'state') {
    if (frame.log)
      remember(stateFolder, { checkpoint: checkpointToKeep(frame.log, memory.checkpoint, heldBundle(memory.bundle)) })
    return undefined
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
  // What it revoked may be known nowhere else any more.
  if (!sameHistory) keepGivenUpIn(stateFolder)
  remember(stateFolder, {
    bundle: { document: state.trust.signed.document, signatures: [...state.trust.signed.signatures] },
    incarnation: state.incarnation,
    revision: sameHistory ? memory.revision : 0,
    krlVersion: String(state.krl.version),
    canary: state.canaries.map(canary => canary.line),
    checkpoint,
    filesHash: undefined,
  })
  saveDesired(stateFolder, frame.state)
  return state
}

function keepGivenUpIn(stateFolder: string): void {
  try {
    keepGivenUp(stateFolder, loadDesired(stateFolder).krl)
  } catch {
    // There is none, or it cannot be read: the new state must not wait for that.
  }
}

/** Writes a verified state, reads it back and has sshd use it; gives its revision, which is in force then. */
export async function apply(agent: Agent, state: VerifiedState): Promise<number> {
  const { config, stateFolder, log } = agent
  writeDocuments(state, agent)
  readBack(state, config, agent.style)
  await settle(agent, agent.asked, { written: true })
  // Once nobody gets in any more by what was taken away, and before it is called in force.
  await endSessions(agent, state.ends)
  remember(stateFolder, { revision: state.revision })
  log.info(`in force: ${describe(state)}`)
  return state.revision
}

/** Whoever waits for the word hears how many have ended, if the server can be told of it at once. */
const TOLD_WITHIN_MS = 2000

async function endSessions({ logins }: Agent, ends: VerifiedState['ends']): Promise<void> {
  if (!logins) return
  await logins.seen.end(ends)
  if (!logins.seen.record.pending.some(event => event.event === 'closed' && event.order !== undefined)) return
  const told = logins.report.tell().catch(() => undefined) // It is tried again, and said, by `LoginReport.run`.
  await Promise.race([told, delay(TOLD_WITHIN_MS, undefined, { ref: false })])
}

/** What was ordered while this host did not see who logs in, or before it was started. */
export async function endAsDesired(agent: Agent): Promise<void> {
  try {
    await endSessions(agent, verifyState(loadDesired(agent.stateFolder), loadMemory(agent.stateFolder)).ends)
  } catch (error) {
    agent.log.warn(`whose sessions are to end is not known yet: ${told(error).message}`)
  }
}
