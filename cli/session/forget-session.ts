import { type Context, isWorkload, readableSession, removeSession } from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { agentsOf, chooseAgent, removeFromAgent } from '../ssh/agent.ts'
import { remark, shown } from '../terminal/terminal.ts'
import { agentComment } from './keys.ts'

/**
 * Takes a session's keys and certificates from this machine; pin, checkpoint and ssh line stay. Gives the sockets of agents
 * that still hold a key of it, or do not say, each told.
 */
export async function forgetSession(folders: Folders, context: Pick<Context, 'organisation'>): Promise<string[]> {
  const session = readableSession(folders, context.organisation)
  // A workload's key was never in one.
  const isPersons = !(session && isWorkload(session))
  const stuck = isPersons ? await takeKeysBack(folders, context.organisation, chooseAgent()) : []
  removeSession(folders, context.organisation)
  return stuck
}

/** Takes our keys out of the agents that may have them: those that the session names, and `running`. Gives what `forgetSession` gives. */
export async function takeKeysBack(
  folders: Folders,
  organisation: string,
  running: string | undefined,
): Promise<string[]> {
  const own = agentsOf(readableSession(folders, organisation))
  const stuck: string[] = []
  for (const socket of new Set([...own, ...(running === undefined ? [] : [running])])) {
    const left = await removeFromAgent(socket, agentComment(organisation))
    // One that was never given the key and does not answer has nothing to say here.
    if (left === 0 || (left === undefined && !own.includes(socket))) continue
    stuck.push(socket)
    remark(
      left === undefined
        ? `The ssh-agent at ${shown(socket)} does not answer, and may still hold a key of the session here: remove it with ssh-add -D once it does, or end that agent.`
        : `The ssh-agent at ${shown(socket)} still holds a key of the session here: remove it with ssh-add -D, or end that agent. gpg-agent keeps it on disk: docs/login.md says how to remove it there.`,
    )
  }
  return stuck
}
