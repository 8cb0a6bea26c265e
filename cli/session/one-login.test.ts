import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import {
  type Context,
  noteEnded,
  type PersonSession,
  readSession,
  sessionFiles,
  writeSession,
} from '../context/context.ts'
import { readIfThere, writeFile } from '../context/files.ts'
import { folders } from '../context/folders.ts'
import { signInTurn } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { liveSession, oneAtATime } from './one-login.ts'

const home = mkdtempSync(join(tmpdir(), 'keyman-one-login-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const places = folders({ HOME: home, XDG_CONFIG_HOME: join(home, 'c'), XDG_STATE_HOME: join(home, 's') })
const context: Context = {
  organisation: 'acme',
  machinesUrl: 'https://localhost:4443',
  publicUrl: 'http://localhost:4480',
  rootFingerprint: 'SHA256:x',
  bundle: { document: '{}', signatures: [] },
  bundleVersion: 1,
  machinesRoot: '',
  logKey: { name: 'acme', key: '' },
  hostAuthorities: [],
  hostSuffixes: [],
  hosts: [],
}
const now = Date.now()
const hence = (hours: number) => new Date(now + hours * 3_600_000).toISOString()
const session = (id: string): PersonSession => ({
  person: 'alice@example.com',
  session: id,
  owner: false,
  startedAt: hence(-1),
  endsAt: hence(8),
  passkeys: 1,
  ssh: { keyId: id, serial: '1', principals: [], startsAt: hence(-1), endsAt: hence(8) },
  clientEndsAt: hence(8),
  keyIn: 'file',
})

describe('a login beside another', () => {
  const said: string[] = []
  afterEach(() => {
    said.length = 0
    vi.restoreAllMocks()
  })
  const hearing = () =>
    vi.spyOn(process.stderr, 'write').mockImplementation(text => {
      said.push(String(text))
      return true
    })

  it('that nobody answers waits for it in vain no longer than its patience, says so and goes on', async () => {
    hearing()
    const [inside, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const dead = takeTurn(signInTurn(places, context), 5000, () => {
      inside.resolve()
      return end.promise
    })
    await inside.promise
    expect(await oneAtATime(places, context, async () => session('session_mine'), 100)).toMatchObject({
      session: 'session_mine',
    })
    end.resolve()
    await dead
    expect(said.join('')).toContain('this one goes on by itself')
  })
})

describe('a session that the server has ended', () => {
  const installed = (id: string) => {
    writeSession(places, 'acme', session(id))
    writeFile(sessionFiles(places, 'acme').clientCertificate, `certificate of ${id}`, 0o600)
  }
  it('is live no more, and neither is its certificate', () => {
    installed('session_1')
    expect(liveSession(places, context)).toBeDefined()
    noteEnded(places, 'acme', 'certificate of session_1', new Date())
    expect(liveSession(places, context)).toBeUndefined()
    expect(readIfThere(sessionFiles(places, 'acme').validUntil)).toBe('0\n0\n')
  })
  it('leaves the one alone that a login has put in its place meanwhile', () => {
    installed('session_2')
    noteEnded(places, 'acme', 'certificate of session_1', new Date())
    expect(readSession(places, 'acme')).toEqual(session('session_2'))
  })
})
