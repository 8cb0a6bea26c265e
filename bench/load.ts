import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { cpuSeconds, cpuSecondsOfTree } from './cpu.ts'
import type { Answer, Command, Load, Result } from './generator.ts'
import type { BenchServer } from './server.ts'

/** A load as it was measured. CPU in seconds; the HSM's client runs inside the server's process. */
export type Measured = Omit<Result, 'cpu'> & {
  readonly perSecond: number
  readonly cpu: { readonly server: number; readonly database: number; readonly generator: number }
  /** CPU seconds of server and database for a thousand. */
  readonly cpuPerThousand: number
}

export type Generator = {
  run(load: Load): Promise<Measured>
  close(): void
}

/** Starts the load generator and enrols its persons at the server, each with an invitation of its own. */
export async function startGenerator(server: BenchServer, persons: number): Promise<Generator> {
  const child = fork(join(import.meta.dirname, 'generator.ts'))
  const target = { pagesUrl: server.pagesUrl, machinesUrl: server.machinesUrl }
  for (let n = 1; n <= persons; n++) {
    const identity = `person${n}@example.com`
    const link = await server.invite(identity)
    await ask(child, { do: 'enrol', target, identity, link })
    await server.grant(identity)
  }
  return {
    async run(load) {
      await ask(child, load)
      const used = () => ({ server: cpuSeconds(server.pid), database: cpuSecondsOfTree(server.databasePid) })
      const before = used()
      const answer = await ask(child, 'go')
      const after = used()
      if (typeof answer === 'string' || 'error' in answer) throw new Error('the generator answered something else')
      if (answer.failed > 0) throw new Error(`${answer.failed} requests failed, the first with: ${answer.failure}`)
      const cpu = {
        server: after.server - before.server,
        database: after.database - before.database,
        generator: answer.cpu,
      }
      return {
        ...answer,
        cpu,
        perSecond: (answer.count / answer.elapsed) * 1000,
        cpuPerThousand: ((cpu.server + cpu.database) / answer.count) * 1000,
      }
    },
    close: () => child.disconnect(),
  }
}

function ask(child: ChildProcess, command: Command): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null) => reject(new Error(`the load generator ended with ${code}`))
    child.once('exit', ended)
    child.once('message', (answer: Answer) => {
      child.off('exit', ended)
      if (typeof answer === 'object' && 'error' in answer) reject(new Error(answer.error))
      else resolve(answer)
    })
    child.send(command)
  })
}
