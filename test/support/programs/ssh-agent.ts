import { type ChildProcess, spawn } from 'node:child_process'

/** A real ssh-agent that listens at this socket by now. Ends with the test's process at the latest. */
export async function startSshAgent(socket: string): Promise<ChildProcess> {
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] })
  const end = () => agent.kill()
  process.once('exit', end)
  agent.once('exit', () => process.off('exit', end))
  // It prints its environment once it listens.
  await new Promise<void>((resolve, reject) => {
    agent.stdout.once('data', () => resolve())
    agent.once('error', reject)
  })
  return agent
}
