import { type ChildProcess, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { startGpgAgent } from '#test/support/programs/gpg-agent.ts'
import { startSshAgent } from '#test/support/programs/ssh-agent.ts'
import { requires } from '#test/support/requires.ts'
import { type KeyPlace, type Session, sessionFiles, writeSession } from '../context/context.ts'
import { writeFile } from '../context/files.ts'
import { type Folders, folders } from '../context/folders.ts'
import { addToAgent, keysOf } from '../ssh/agent.ts'
import { forgetSession } from './forget-session.ts'
import { makeLoginKeys } from './keys.ts'
import { keyProblem, placeKey, requireKey } from './session-key.ts'

describe.skipIf(!requires('ssh'))('the SSH key of a session, in an ssh-agent', () => {
  const { ssh } = makeLoginKeys('keyman:acme')
  let folder: string
  let socket: string
  let places: Folders
  let agent: ChildProcess | undefined
  let server: Server | undefined
  const connections = new Set<Socket>()

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'keyman-key-'))
    socket = join(folder, 'agent')
    mkdirSync(join(folder, 'run'), { mode: 0o700 })
    places = folders({ HOME: folder, XDG_RUNTIME_DIR: join(folder, 'run') })
    writeFile(sessionFiles(places, 'acme').publicKey, `${ssh.line}\n`, 0o644)
  })
  afterEach(async () => {
    // It takes its socket away when it ends, which may be the next test's by then.
    if (agent) await ended(agent)
    for (const each of connections) each.destroy()
    await new Promise(resolve => (server ? server.close(resolve) : resolve(undefined)))
    agent = undefined
    server = undefined
    rmSync(socket, { force: true })
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const ended = async (child: ChildProcess) => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill()
    await once(child, 'exit')
  }

  const session = (place: KeyPlace = { keyIn: 'agent', agent: { socket } }): Session => ({
    ...{ person: 'alice@example.com', session: 'session_0123456789', owner: false, passkeys: 2 },
    ...{ startedAt: '2030-01-01T00:00:00Z', endsAt: '2030-01-01T08:00:00Z', clientEndsAt: '2030-01-01T08:00:00Z' },
    ...place,
  })
  const problem = () => keyProblem(places, 'acme', session())
  const real = async () => {
    agent = await startSshAgent(socket)
  }
  /** One that does with a question what this does. */
  const odd = (answer: (connection: Socket, data: Uint8Array) => void) =>
    new Promise<void>(resolve => {
      server = createServer(connection => {
        connections.add(connection.on('error', () => undefined))
        connection.on('data', (data: Uint8Array) => answer(connection, data))
      })
      server.listen(socket, () => resolve())
    })
  const FAILURE = new Uint8Array([0, 0, 0, 1, 5])

  it('that has it, is there', async () => {
    await real()
    expect(await addToAgent(socket, { ...ssh, lifetime: 60 })).toEqual({ isTaken: true })
    expect(await problem()).toBeUndefined()
  })

  const withAnother = async () => {
    await real()
    await addToAgent(socket, { ...makeLoginKeys('keyman:other').ssh, lifetime: 60 })
  }
  it.each([
    ['that has others alone', withAnother, '', 'run keyman login'],
    // One that is locked says the same.
    ['that has none', real, '', 'ssh-add -X if you have locked it, else run keyman login'],
    ['that has ended', async () => {}, ', which has ended', 'run keyman login'],
  ])('%s, is gone', async (_, start, how, next) => {
    await start()
    expect(await problem()).toEqual({
      isGone: true,
      says: `the SSH key of this session is gone from the ssh-agent at ${socket}${how}`,
      next,
    })
    await expect(requireKey(places, 'acme', session())).rejects.toMatchObject({ code: 'not-signed-in' })
  })

  it('whose public half was removed is gone, whatever the agent has: the refusal names the file', async () => {
    const path = sessionFiles(places, 'acme').publicKey
    rmSync(path)
    const found = await problem()
    writeFile(path, `${ssh.line}\n`, 0o644)
    expect(found).toMatchObject({ isGone: true, says: `the SSH key of this session is gone: ${path} was removed` })
  })

  it.each([
    ['that says nothing', () => undefined],
    ['that hangs up', connection => connection.end()],
    ['that fails', connection => connection.write(FAILURE)],
  ] as [string, (connection: Socket) => void][])(
    '%s, may be there: that is told, and a renewal goes on',
    async (_, answer) => {
      await odd(answer)
      expect(await problem()).toMatchObject({
        isGone: false,
        says: expect.stringContaining(
          `the ssh-agent at ${socket} could not be asked for the SSH key of this session: `,
        ),
        next: expect.stringContaining('ssh-add -l'),
      })
      const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
      await requireKey(places, 'acme', session())
      expect(said.mock.calls.flat().join('')).toContain('could not be asked')
      said.mockRestore()
    },
  )

  describe('when it is placed', () => {
    const place = () => placeKey(places, 'acme', makeLoginKeys('keyman:acme'), { lifetime: 60, inFile: false })
    const keep = (place: KeyPlace) => writeSession(places, 'acme', session(place))
    let said: string[]
    beforeEach(() => {
      said = []
      vi.spyOn(process.stderr, 'write').mockImplementation(text => said.push(String(text)) > 0)
      for (const name of ['SSH_CONNECTION', 'SSH_CLIENT', 'SSH_AUTH_SOCK', 'KEYMAN_SSH_AGENT']) vi.stubEnv(name, '')
    })
    afterEach(() => {
      vi.restoreAllMocks()
      vi.unstubAllEnvs()
      rmSync(sessionFiles(places, 'acme').session, { force: true })
    })

    it('goes into the agent that is named, without a word', async () => {
      await real()
      vi.stubEnv('KEYMAN_SSH_AGENT', socket)
      expect(await place()).toEqual({ keyIn: 'agent', agent: { socket } })
      expect(said).toEqual([])
    })

    it('goes into a file where that one cannot be used, which is said; of one that nobody named it is not', async () => {
      vi.stubEnv('KEYMAN_SSH_AGENT', socket)
      expect(await place()).toEqual({ keyIn: 'file' })
      expect(said.join('')).toBe(
        `keyman: warning: the ssh-agent at ${socket} is not used (no ssh-agent listens there): the key is in a file\n`,
      )
      said = []
      vi.stubEnv('KEYMAN_SSH_AGENT', '')
      vi.stubEnv('SSH_AUTH_SOCK', socket)
      expect(await place()).toEqual({ keyIn: 'file' })
      expect(said).toEqual([])
    })

    it('of which an agent does not say whether it took it is asked for again at the logout, by whatever terminal', async () => {
      let isAsleep = true
      const held: Uint8Array[] = []
      await odd((connection, data) => {
        if (data[4] === 18) connection.write(FAILURE)
        else if (data[4] === 25 && isAsleep) held.push(data)
        else if (data[4] === 11) connection.write(Uint8Array.of(0, 0, 0, 5, 12, 0, 0, 0, 0))
      })
      vi.stubEnv('SSH_AUTH_SOCK', socket)
      const placed = await place()
      expect(placed).toEqual({ keyIn: 'file', mayBeIn: socket })
      expect(said.join('')).toContain('may have the key all the same')
      expect(held).toHaveLength(1)
      keep(placed)
      // It took it at last: a real one that has it is there in its place.
      isAsleep = false
      await new Promise(resolve => (server ? server.close(resolve) : resolve(undefined)))
      server = undefined
      await real()
      await addToAgent(socket, { ...ssh, lifetime: 60 })
      vi.stubEnv('SSH_AUTH_SOCK', '')
      expect(await forgetSession(places, { organisation: 'acme' })).toEqual([])
      expect(await keysOf(socket)).toEqual([])
    })

    it('is told at the logout where an agent that had it does not answer', async () => {
      await odd(() => undefined)
      keep({ keyIn: 'file', mayBeIn: socket })
      expect(await forgetSession(places, { organisation: 'acme' })).toEqual([socket])
      expect(said.join('')).toContain(`The ssh-agent at ${socket} does not answer`)
    })

    it.skipIf(!requires('gpg-agent'))(
      'is told at the logout where gpg-agent has it and gives it never up',
      async () => {
        const gpg = startGpgAgent()
        const file = join(gpg.folder, 'id')
        execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'keyman:acme', '-f', file])
        execFileSync('ssh-add', ['-q', file], { env: { ...process.env, SSH_AUTH_SOCK: gpg.socket }, stdio: 'ignore' })
        keep({ keyIn: 'agent', agent: { socket: gpg.socket } })
        expect(await forgetSession(places, { organisation: 'acme' })).toEqual([gpg.socket])
        expect(said.join('')).toContain('gpg-agent keeps it on disk')
        await gpg.close()
      },
    )
  })
})
