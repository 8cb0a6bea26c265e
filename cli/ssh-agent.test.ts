import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { requires } from '#test/support/requires.ts'
import { makeLoginKeys } from './keys.ts'
import { addToAgent, holds, localAgent, removeFromAgent } from './ssh-agent.ts'

describe('which agent', () => {
  it('is the one of this machine, never one that was forwarded here', () => {
    expect(localAgent({ SSH_AUTH_SOCK: '/a' })).toBe('/a')
    expect(localAgent({ SSH_AUTH_SOCK: '/a', SSH_CONNECTION: '192.0.2.1 1 192.0.2.2 22' })).toBeUndefined()
    expect(localAgent({ SSH_AUTH_SOCK: '' })).toBeUndefined()
    expect(localAgent({})).toBeUndefined()
  })
})

describe.skipIf(!requires('ssh'))('a real ssh-agent', () => {
  let folder: string
  let socket: string
  let agent: ChildProcess
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'keyman-agent-'))
    socket = join(folder, 'sock')
    agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] })
    await new Promise(resolve => agent.stdout?.once('data', resolve))
  })
  afterAll(() => {
    agent.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  const list = () => {
    try {
      return execFileSync('ssh-add', ['-l'], { env: { ...process.env, SSH_AUTH_SOCK: socket }, encoding: 'utf8' })
    } catch {
      return ''
    }
  }
  const add = (comment: string, lifetime = 3600) => {
    const { ssh } = makeLoginKeys(comment)
    return { ssh, added: addToAgent(socket, { ...ssh, comment, lifetime }) }
  }

  it('takes the bare key with a lifetime, and lists it', async () => {
    const { ssh, added } = add('keyman:acme')
    expect(await added).toBe(true)
    expect(await holds(socket, ssh.publicKey)).toBe(true)
    expect(list()).toMatch(/^256 SHA256:\S+ keyman:acme \(ED25519\)$/m)
    expect(list()).not.toContain('CERT')
  })
  it('forgets the key by itself', async () => {
    const { ssh, added } = add('keyman:short', 1)
    expect(await added).toBe(true)
    await expect.poll(() => holds(socket, ssh.publicKey), { timeout: 10_000 }).toBe(false)
  })
  it("gives up this organisation's old keys, and nobody else's", async () => {
    await add('keyman:other').added
    await add('alice@laptop').added
    await add('keyman:acme').added
    expect(await removeFromAgent(socket, 'keyman:acme')).toBe(2)
    expect(list()).not.toContain('keyman:acme')
    expect(list()).toContain('keyman:other')
    expect(list()).toContain('alice@laptop')
  })
  it('that says yes and keeps nothing is not believed', async () => {
    // As some multiplexers do: success to an add, and an empty list.
    const liar = createServer(connection =>
      connection.on('data', data =>
        connection.write(data[4] === 11 ? Uint8Array.of(0, 0, 0, 5, 12, 0, 0, 0, 0) : Uint8Array.of(0, 0, 0, 1, 6)),
      ),
    )
    const path = join(folder, 'liar')
    await new Promise<void>(resolve => liar.listen(path, resolve))
    const { ssh } = makeLoginKeys('keyman:acme')
    expect(await addToAgent(path, { ...ssh, comment: 'keyman:acme', lifetime: 60 })).toBe(false)
    liar.close()
  })
  it('that refuses, or is not there, is no failure: the key goes into a file', async () => {
    execFileSync('sh', ['-c', `printf 'x\\nx\\n' | SSH_ASKPASS_REQUIRE=never ssh-add -x`], {
      env: { ...process.env, SSH_AUTH_SOCK: socket },
      stdio: 'ignore',
    })
    const { ssh } = makeLoginKeys('keyman:acme')
    expect(await addToAgent(socket, { ...ssh, comment: 'keyman:acme', lifetime: 60 })).toBe(false)
    expect(await addToAgent(join(folder, 'nobody'), { ...ssh, comment: 'keyman:acme', lifetime: 60 })).toBe(false)
    expect(await removeFromAgent(join(folder, 'nobody'), 'keyman:acme')).toBe(0)
  })
})
