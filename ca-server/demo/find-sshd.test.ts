import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { requires } from '#test/support/requires.ts'
import { program } from '../../scripts/requirements.mjs'
import { type FoundSshd, findSshd } from './find-sshd.ts'

let folder: string
let lines: string[]
const say = (line: string) => lines.push(line)

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-sshd-'))
  lines = []
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function found(result: Awaited<ReturnType<typeof findSshd>>): FoundSshd {
  if ('missing' in result) throw new Error(result.missing)
  return result
}

/** What sshd says of a configuration with its own host key: 'extended test mode', everything but listening. */
function effectiveConfiguration({ sshd, libraryPath, sessionPath }: FoundSshd): string {
  const key = join(folder, 'host-key')
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  const config = join(folder, 'sshd_config')
  writeFileSync(config, `HostKey ${key}\nUsePAM no\n${sessionPath ? `SshdSessionPath ${sessionPath}\n` : ''}`)
  const env = { ...process.env, ...(libraryPath && { LD_LIBRARY_PATH: libraryPath }) }
  return execFileSync(sshd, ['-T', '-f', config], { env, encoding: 'utf8' })
}

describe.skipIf(!requires('sshd', 'ssh'))('with an sshd on the machine', () => {
  it('takes it, and says its version', async () => {
    const sshd = found(await findSshd(folder, say))
    expect(sshd.version).toMatch(/^[0-9]+\.[0-9]+(p[0-9]+)?$/)
    expect(sshd.libraryPath).toBeUndefined()
    expect(effectiveConfiguration(sshd)).toMatch(/^usepam no$/im)
  })
})

// Package lists are 26 MB to fetch and unpack: more than the usual minute where the machine is busy.
describe.skipIf(!program('apt-get'))('with no sshd on a Debian or Ubuntu', { timeout: 240_000 }, () => {
  // The network may be away on a laptop; in CI it may not.
  const fetched = async (skip: () => void) => {
    const result = await findSshd(folder, say, { search: [] })
    if ('missing' in result && process.env.CI !== 'true') skip()
    return found(result)
  }

  it('unpacks its package for itself, which starts, and finds it there the next time', async ({ skip }) => {
    const sshd = await fetched(skip)
    expect(sshd.sshd).toBe(join(folder, 'openssh-server/usr/sbin/sshd'))
    expect(lines[0]).toMatch(/fetching the package openssh-server/)
    if (program('ssh-keygen')) expect(effectiveConfiguration(sshd)).toMatch(/^usepam no$/im)

    const before = lines.length
    expect(await findSshd(folder, say, { search: [] })).toEqual(sshd)
    expect(lines).toHaveLength(before)
    expect(readdirSync(folder).filter(name => name.startsWith('.'))).toEqual([])
  })

  it("fetches package lists of its own where the machine's are empty", async ({ skip }) => {
    const empty = join(folder, 'lists')
    mkdirSync(join(empty, 'partial'), { recursive: true })
    await withApt(`Dir::State::Lists "${empty}";`, () => fetched(skip))
    expect(lines.join()).toMatch(/package lists/)
    expect(readdirSync(empty)).toEqual(['partial'])
  })

  it('says in one line what to install where the archive is not reached, and leaves nothing behind', async () => {
    const data = join(folder, 'data')
    const proxy = `http://127.0.0.1:${await closedPort()}`
    const result = await withApt(`Acquire::http::Proxy "${proxy}"; Acquire::https::Proxy "${proxy}";`, () =>
      findSshd(data, say, { search: [] }),
    )
    expect(result).toEqual({ missing: expect.stringMatching(/^install .*apt-get install openssh-server.*$/) })
    expect(readdirSync(data)).toEqual([])
  })
})

it('names the file where what it found does not start', async () => {
  const fake = join(folder, 'sshd')
  writeFileSync(fake, '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  expect(await findSshd(folder, say, { search: [fake] })).toEqual({ missing: expect.stringContaining(fake) })
})

/** Runs with one more configuration file of apt's: apt.conf(5), `APT_CONFIG`. */
async function withApt<T>(settings: string, work: () => Promise<T>): Promise<T> {
  const file = join(folder, 'apt.conf')
  writeFileSync(file, settings)
  process.env.APT_CONFIG = file
  try {
    return await work()
  } finally {
    delete process.env.APT_CONFIG
  }
}

/** A port where nobody listens: it was free a moment ago. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
