import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { api } from '#shared/api/index.ts'
import { page } from '#test/support/people/api-person.ts'
import { openLaptop } from '#test/support/people/laptop.ts'
import { median } from './numbers.ts'
import type { BenchServer } from './server.ts'

const root = join(import.meta.dirname, '..')

/**
 * How long `bin/keyman status` takes on a machine that is signed in, and the same Node with an empty script, by turns.
 * Medians in milliseconds.
 */
export async function cliStarts(server: BenchServer, rounds: number): Promise<{ status: number; empty: number }> {
  const laptop = await openLaptop(server.folder, server.env, { agent: false })
  const { code, stderr } = await laptop.keyman(['login', '--yes'], url => consent(server, url))
  if (code !== 0) throw new Error(`keyman login ended with ${code}: ${stderr}`)
  const empty = join(server.folder, 'empty.mjs')
  writeFileSync(empty, '')
  const run = (program: string, ...args: string[]): number => {
    const started = performance.now()
    const { status } = spawnSync(program, args, { env: laptop.env, stdio: ['ignore', 'pipe', 'inherit'] })
    const time = performance.now() - started
    if (status !== 0) throw new Error(`${program} ended with ${status}`)
    return time
  }
  const times = { status: [] as number[], empty: [] as number[] }
  for (let round = 0; round < rounds + 2; round++) {
    const status = run(join(root, 'bin', 'keyman'), 'status')
    const nothing = run(join(root, 'dist', 'node'), empty)
    if (round < 2) continue
    times.status.push(status)
    times.empty.push(nothing)
  }
  await laptop.close()
  return { status: median(times.status), empty: median(times.empty) }
}

/** What the page does when the person touches their passkey, and the browser that it then sends back. */
async function consent(server: BenchServer, url: string): Promise<void> {
  const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
  const { options } = await page(server, api.login.consentOptions, { params })
  const assertion = server.owner.person.authenticator.get(options)
  const { redirectTo } = await page(server, api.login.consent, { params, body: { assertion } })
  await fetch(redirectTo ?? '')
}
