import { type ChildProcess, execFileSync } from 'node:child_process'
import { chownSync, linkSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseCertificate } from '#shared/ssh/index.ts'
import { type GpgAgent, startGpgAgent } from '#test/support/programs/gpg-agent.ts'
import { startSshAgent } from '#test/support/programs/ssh-agent.ts'
import { isRoot, requires } from '#test/support/requires.ts'
import { newWorld } from '#test/support/trust-world.ts'
import { makeLoginKeys } from '../session/keys.ts'
import { addCertificateToAgent, addToAgent, chooseAgent, holds, keysOf, removeFromAgent, whyUnusable } from './agent.ts'

describe('which agent', () => {
  it('is the one of this machine, never one that was forwarded here', () => {
    expect(chooseAgent({ SSH_AUTH_SOCK: '/a' })).toBe('/a')
    expect(chooseAgent({ SSH_AUTH_SOCK: '/a', SSH_CONNECTION: '192.0.2.1 1 192.0.2.2 22' })).toBeUndefined()
    expect(chooseAgent({ SSH_AUTH_SOCK: '' })).toBeUndefined()
    expect(chooseAgent({})).toBeUndefined()
  })
  it('is not gpg-agent, which keeps for good what it is given, unless somebody names it', () => {
    const SSH_AUTH_SOCK = '/run/user/1000/gnupg/S.gpg-agent.ssh'
    expect(chooseAgent({ SSH_AUTH_SOCK })).toBeUndefined()
    // It is asked then, and found out: below.
    expect(chooseAgent({ SSH_AUTH_SOCK, KEYMAN_SSH_AGENT: SSH_AUTH_SOCK })).toBe(SSH_AUTH_SOCK)
  })
  it('is the one that the person names, or none', () => {
    expect(chooseAgent({ SSH_AUTH_SOCK: '/a', KEYMAN_SSH_AGENT: 'none' })).toBeUndefined()
    expect(chooseAgent({ SSH_AUTH_SOCK: '/a', KEYMAN_SSH_AGENT: 'auto' })).toBe('/a')
    expect(chooseAgent({ SSH_AUTH_SOCK: '/a', KEYMAN_SSH_AGENT: '/b' })).toBe('/b')
    expect(() => chooseAgent({ KEYMAN_SSH_AGENT: 'off' })).toThrow(/KEYMAN_SSH_AGENT is "off"/)
  })
})

const taken = async (added: ReturnType<typeof addToAgent>): Promise<boolean> => (await added).isTaken

describe.skipIf(!requires('ssh', 'gpg-agent'))('a real gpg-agent', () => {
  let gpg: GpgAgent
  beforeAll(() => {
    gpg = startGpgAgent()
  })
  afterAll(() => gpg?.close())
  const KEEPS = 'it gives no key up that it was given, as gpg-agent, which keeps them for good'

  it('is left out by another name that leads to its own', () => {
    const link = join(gpg.folder, 'link')
    symlinkSync(gpg.socket, link)
    expect(chooseAgent({ SSH_AUTH_SOCK: link })).toBeUndefined()
  })

  it('is given no key, whatever its socket is called', async () => {
    const other = join(gpg.folder, 'agent.sock')
    linkSync(gpg.socket, other)
    expect(chooseAgent({ SSH_AUTH_SOCK: other })).toBe(other)
    for (const socket of [other, gpg.socket]) {
      const { ssh } = makeLoginKeys('keyman:acme')
      const added = await addToAgent(socket, { ...ssh, comment: 'keyman:acme', lifetime: 60 })
      expect(added).toEqual({ isTaken: false, why: KEEPS, mayHave: false })
      expect(await whyUnusable(socket)).toBe(KEEPS)
    }
    expect([gpg.keys(), await keysOf(gpg.socket)]).toEqual([0, []])
  })

  it('that has a key of ours from elsewhere still has it after a removal, which is counted', async () => {
    const file = join(gpg.folder, 'id')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'keyman:acme', '-f', file])
    execFileSync('ssh-add', ['-q', '-t', '60', file], {
      env: { ...process.env, SSH_AUTH_SOCK: gpg.socket },
      stdio: 'ignore',
    })
    expect(await removeFromAgent(gpg.socket, 'keyman:acme')).toBe(1)
    expect(await removeFromAgent(gpg.socket, 'keyman:other')).toBe(0)
    expect(gpg.keys()).toBe(1)
  })
})

describe.skipIf(!requires('ssh'))('a real ssh-agent', () => {
  let folder: string
  let socket: string
  let agent: ChildProcess
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'keyman-agent-'))
    socket = join(folder, 'sock')
    agent = await startSshAgent(socket)
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
    return { ssh, added: taken(addToAgent(socket, { ...ssh, comment, lifetime })) }
  }

  it('takes the bare key with a lifetime, and lists it', async () => {
    const { ssh, added } = add('keyman:acme')
    expect(await added).toBe(true)
    expect(await holds(socket, ssh.publicKey)).toBe(true)
    expect(list()).toMatch(/^256 SHA256:\S+ keyman:acme \(ED25519\)$/m)
    expect(list()).not.toContain('CERT')
    expect(await whyUnusable(socket)).toBeUndefined()
    expect(await holds(socket, ssh.publicKey)).toBe(true)
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
    expect(await removeFromAgent(socket, 'keyman:acme')).toBe(0)
    expect(list()).not.toContain('keyman:acme')
    expect(list()).toContain('keyman:other')
    expect(list()).toContain('alice@laptop')
  })
  it.skipIf(!isRoot)(
    'that somebody else listens as gets no key: one of an ended session lay where others may write',
    async () => {
      const link = join(folder, 'link')
      symlinkSync(socket, link)
      const takes = (at: string) =>
        taken(addToAgent(at, { ...makeLoginKeys('x').ssh, comment: 'keyman:x', lifetime: 60 }))
      for (const path of [socket, folder]) {
        chownSync(path, 65534, 65534)
        expect([await takes(socket), await takes(link)]).toEqual([false, false])
        chownSync(path, 0, 0)
      }
      expect(list()).not.toContain('keyman:x')
      expect([await takes(socket), await takes(link)]).toEqual([true, true])
    },
  )
  it('takes the certificate beside its key, and gives both up together', async () => {
    const { ssh, added } = add('keyman:both')
    await added
    const line = newWorld().userCertificate(ssh.publicKey, ['alice@example.com'], 7n)
    const certificate = parseCertificate(line, 'certificate')
    expect(await addCertificateToAgent(socket, { ...ssh, certificate, lifetime: 60 })).toBe(true)
    expect(list().match(/keyman:both \(\S+\)/g)).toEqual(['keyman:both (ED25519)', 'keyman:both (ED25519-CERT)'])
    expect(await removeFromAgent(socket, 'keyman:both')).toBe(0)
    expect(list()).not.toContain('keyman:both')
  })
  it('with a key of somebody else whose comment is no UTF-8 lists ours all the same', async () => {
    const odd = join(folder, 'odd')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'x', '-f', odd])
    execFileSync('sh', ['-c', `ssh-keygen -q -c -C "$(printf 'caf\\351')" -f '${odd}' && ssh-add -q '${odd}'`], {
      env: { ...process.env, SSH_AUTH_SOCK: socket },
    })
    const { ssh, added } = add('keyman:odd')
    expect(await added).toBe(true)
    expect(await holds(socket, ssh.publicKey)).toBe(true)
    expect(await removeFromAgent(socket, 'keyman:odd')).toBe(0)
  })
  it('that lists a key and signs nothing with it, as one that asks each time and hears no, gives it up again', async () => {
    const unwilling = createServer(near => {
      const far = connect(socket)
      far.pipe(near)
      // A signature is asked for by 13; 5 is failure.
      near.on('data', data => (data[4] === 13 ? near.write(Uint8Array.of(0, 0, 0, 1, 5)) : far.write(data)))
      near.on('close', () => far.destroy())
      far.on('close', () => near.destroy())
    })
    const path = join(folder, 'unwilling')
    await new Promise<void>(resolve => unwilling.listen(path, resolve))
    const { ssh } = makeLoginKeys('keyman:unwilling')
    expect(await addToAgent(path, { ...ssh, comment: 'keyman:unwilling', lifetime: 60 })).toMatchObject({
      isTaken: false,
      mayHave: false,
    })
    expect(list()).not.toContain('keyman:unwilling')
    unwilling.close()
  })
  it('that takes the key once it is too late may have it: that is said, and it gives it up when it is asked again', async () => {
    let answer = () => {}
    const slow = createServer(near => {
      const far = connect(socket)
      far.on('error', () => undefined)
      near.on('error', () => undefined)
      far.pipe(near)
      // An addition waits for a person.
      near.on('data', data => {
        if (data[4] !== 25) far.write(data)
        else answer = () => far.write(data)
      })
    })
    const path = join(folder, 'slow')
    await new Promise<void>(resolve => slow.listen(path, resolve))
    const { ssh } = makeLoginKeys('keyman:slow')
    const added = await addToAgent(path, { ...ssh, comment: 'keyman:slow', lifetime: 60 })
    expect(added).toEqual({ isTaken: false, why: 'the ssh-agent does not answer', mayHave: true })
    expect(await holds(socket, ssh.publicKey)).toBe(false)
    answer()
    await expect.poll(() => holds(path, ssh.publicKey)).toBe(true)
    expect(await removeFromAgent(path, 'keyman:slow')).toBe(0)
    expect(list()).not.toContain('keyman:slow')
    slow.close()
  })
  it('that says yes and keeps nothing is not believed', async () => {
    // As some multiplexers do: success to an add, and an empty list.
    const liar = createServer(connection =>
      connection.on('data', data =>
        connection.write(
          data[4] === 11
            ? Uint8Array.of(0, 0, 0, 5, 12, 0, 0, 0, 0)
            : Uint8Array.of(0, 0, 0, 1, data[4] === 18 ? 5 : 6),
        ),
      ),
    )
    const path = join(folder, 'liar')
    await new Promise<void>(resolve => liar.listen(path, resolve))
    const { ssh } = makeLoginKeys('keyman:acme')
    expect(await taken(addToAgent(path, { ...ssh, comment: 'keyman:acme', lifetime: 60 }))).toBe(false)
    liar.close()
  })
  it('that refuses, or is not there, is no failure: the key goes into a file', async () => {
    execFileSync('sh', ['-c', `printf 'x\\nx\\n' | SSH_ASKPASS_REQUIRE=never ssh-add -x`], {
      env: { ...process.env, SSH_AUTH_SOCK: socket },
      stdio: 'ignore',
    })
    const { ssh } = makeLoginKeys('keyman:acme')
    expect(await addToAgent(socket, { ...ssh, comment: 'keyman:acme', lifetime: 60 })).toEqual({
      isTaken: false,
      why: 'it does not take a key with a lifetime, or is locked (ssh-add -X)',
      mayHave: false,
    })
    expect(await addToAgent(join(folder, 'nobody'), { ...ssh, comment: 'keyman:acme', lifetime: 60 })).toEqual({
      isTaken: false,
      why: 'no ssh-agent listens there',
      mayHave: false,
    })
    expect(await removeFromAgent(join(folder, 'nobody'), 'keyman:acme')).toBe(0)
  })
})
