import { type Context, removeSession } from './context.ts'
import type { Folders } from './folders.ts'
import { agentComment } from './keys.ts'
import { localAgent, removeFromAgent } from './ssh-agent.ts'

/** Takes a session's keys and certificates from this machine; pin, checkpoint and ssh line stay. */
export async function forgetSession(folders: Folders, context: Context): Promise<void> {
  const socket = localAgent()
  if (socket) await removeFromAgent(socket, agentComment(context.organisation))
  removeSession(folders, context.organisation)
}
