import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { startSshAgent } from '#test/support/programs/ssh-agent.ts'
import { requires } from '#test/support/requires.ts'
import { type Session, sessionFiles } from '../context/context.ts'
import { writeFile } from '../context/files.ts'
import { type Folders, folders } from '../context/folders.ts'
import { addToAgent } from '../ssh/agent.ts'
import { makeLoginKeys } from './keys.ts'
import { keyProblem, requireKey } from './session-key.ts'

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
    agent?.kill()
    for (const each of connections) each.destroy()
    await new Promise(resolve => (server ? server.close(resolve) : resolve(undefined)))
    agent = undefined
    server = undefined
    rmSync(socket, { force: true })
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const session = (): Session => ({
    ...{ person: 'alice@example.com', session: 'session_0123456789', owner: false, passkeys: 2 },
    ...{ startedAt: '2030-01-01T00:00:00Z', endsAt: '2030-01-01T08:00:00Z', clientEndsAt: '2030-01-01T08:00:00Z' },
    ...{ keyIn: 'agent', agent: { socket } },
  })
  const problem = () => keyProblem(places, 'acme', session())
  const real = async () => {
    agent = await startSshAgent(socket)
  }
  /** One that does with a question what this does. */
  const odd = (answer: (connection: Socket) => void) =>
    new Promise<void>(resolve => {
      server = createServer(connection => {
        connections.add(connection.on('error', () => undefined))
        connection.on('data', () => answer(connection))
      })
      server.listen(socket, () => resolve())
    })
  const FAILURE = new Uint8Array([0, 0, 0, 1, 5])

  it('that has it, is there', async () => {
    await real()
    expect(await addToAgent(socket, { ...ssh, lifetime: 60 })).toBe(true)
    expect(await problem()).toBeUndefined()
  })

  it.each([
    ['that has others alone', real, ''],
    ['that has ended', async () => {}, ', which has ended'],
  ])('%s, is gone', async (_, start, how) => {
    await start()
    expect(await problem()).toEqual({
      isGone: true,
      says: `the SSH key of this session is gone from the ssh-agent at ${socket}${how}`,
      next: 'run keyman login',
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
})
