import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Hosts } from '#server/hosts/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { HostName } from '#shared/names.ts'

export type AgentProgram = { readonly node: string; readonly entry: string; readonly env: NodeJS.ProcessEnv }

/**
 * Sees to it that the demo host is named and has joined: as any host would, by a join token and the real agent. What has
 * joined before stays, unless its port is another one, its client certificate has ended or its agent could not go on with what it remembers.
 */
export async function joinDemo(demo: {
  readonly name: HostName
  readonly port: number
  readonly stateFolder: string
  /** Flags that say where this host's sshd is. */
  readonly machine: readonly string[]
  readonly agent: AgentProgram
  readonly hosts: Pick<Hosts, 'add' | 'remove' | 'show'>
  readonly requestId: () => string
}): Promise<void> {
  const by = () => ({ actor: { kind: 'server' } as const, requestId: demo.requestId() })
  const known = await demo.hosts.show(demo.name).catch((error: unknown) => {
    if (error instanceof KeymanError && error.code === 'not-found') return undefined
    throw error
  })
  if (known && known.state !== 'invited' && known.port === demo.port && canGoOn(demo.stateFolder)) return
  if (known) await demo.hosts.remove(demo.name, by())
  const added = await demo.hosts.add(
    { name: demo.name, labels: { env: 'demo' }, port: demo.port, address: '127.0.0.1', tokenLifetime: 600 },
    by(),
  )
  const args = ['join', '--token-file', '-', '--again', '--state-folder', demo.stateFolder, ...demo.machine]
  await runAgent(demo.agent, args, added.token)
}

function canGoOn(stateFolder: string): boolean {
  try {
    const certificate = new X509Certificate(readFileSync(join(stateFolder, 'client.crt')))
    // Without its memory an agent trusts nobody and waits for somebody to join it again: here that is us.
    const memory: unknown = JSON.parse(readFileSync(join(stateFolder, 'memory.json'), 'utf8'))
    const remembers = typeof memory === 'object' && memory !== null && 'bundle' in memory
    // One that joined with an earlier release does not see who logs in.
    const seesLogins = readFileSync(join(stateFolder, 'agent.json'), 'utf8').includes('"sshdLog"')
    return remembers && seesLogins && certificate.validToDate > new Date()
  } catch {
    return false
  }
}

/** The token goes in by standard input. Throws `unavailable` with the agent's own words. */
function runAgent(agent: AgentProgram, args: readonly string[], token: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(agent.node, [agent.entry, ...args], { env: agent.env, stdio: ['pipe', 'ignore', 'pipe'] })
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4000)
    })
    const failed = (why: string) => {
      clearTimeout(timer)
      reject(new KeymanError('unavailable', `the demo host's agent could not join: ${why}`))
    }
    child.once('error', error => failed(error.message))
    child.once('exit', code => {
      if (code !== 0) return failed(/error: (.*)/.exec(said)?.[1] ?? said.trim().split('\n').at(-1) ?? `code ${code}`)
      clearTimeout(timer)
      resolve()
    })
    child.stdin.on('error', () => undefined)
    child.stdin.end(token)
  })
}
