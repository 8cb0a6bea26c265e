import { type Context, isWorkload, readableSession, removeSession } from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { agentOf, chooseAgent, removeFromAgent } from '../ssh/agent.ts'
import { agentComment } from './keys.ts'

/**
 * Takes a session's keys and certificates from this machine; pin, checkpoint and ssh line stay. Gives the sockets of agents
 * that still hold a key of it, or do not say.
 */
export async function forgetSession(folders: Folders, context: Pick<Context, 'organisation'>): Promise<string[]> {
  const session = readableSession(folders, context.organisation)
  const stuck: string[] = []
  // A workload's key was never in one.
  const agents = session && isWorkload(session) ? [] : [agentOf(session), chooseAgent()]
  for (const socket of new Set(agents)) {
    if (socket === undefined) continue
    const left = await removeFromAgent(socket, agentComment(context.organisation))
    // An agent that is not there any more has taken the key with it.
    if (left !== undefined && left > 0) stuck.push(socket)
  }
  removeSession(folders, context.organisation)
  return stuck
}
