import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { share } from '../ssh/host-names.ts'
import { tunnelTo } from '../terminal/browser.ts'
import { localDemo, localServer } from '../trust/local-server.ts'
import { contextOfHost, currentContext, makeCurrent, renewalDue, type Session, writeContext } from './context.ts'
import { writeFile } from './files.ts'
import { type Folders, folders } from './folders.ts'

const parent = mkdtempSync(join(tmpdir(), 'keyman-places-'))
afterAll(() => rmSync(parent, { recursive: true, force: true }))
let home: string
let places: Folders
beforeEach(() => {
  home = mkdtempSync(join(parent, 'home-'))
  places = folders({ HOME: home, XDG_RUNTIME_DIR: join(home, 'none') })
})

const context = (organisation: string, hostSuffixes: string[]) => ({
  organisation,
  machinesUrl: `https://${organisation}.example`,
  publicUrl: `https://${organisation}.example`,
  rootFingerprint: 'SHA256:x',
  bundle: { document: '{}', signatures: [] },
  bundleVersion: 1,
  machinesRoot: '',
  logKey: { name: 'x', key: '' },
  hostAuthorities: [],
  hostSuffixes,
  hosts: [],
})

describe('folders', () => {
  it('are those of XDG, and relative ones are ignored', () => {
    const given = folders({ HOME: home, XDG_CONFIG_HOME: join(home, 'c'), XDG_STATE_HOME: 'relative' })
    expect([given.config, given.state]).toEqual([join(home, 'c', 'keyman'), join(home, '.local', 'state', 'keyman')])
  })
  it('of the session lie in the runtime folder only where nobody else can enter it', () => {
    const runtime = join(home, 'run')
    mkdirSync(runtime, { mode: 0o700 })
    expect(folders({ HOME: home, XDG_RUNTIME_DIR: runtime }).runtime).toBe(join(runtime, 'keyman'))
    chmodSync(runtime, 0o755)
    expect(folders({ HOME: home, XDG_RUNTIME_DIR: runtime }).runtime).not.toContain(runtime)
  })
  it('are made 0700, and files with their mode from the first moment', () => {
    const path = join(home, 'a', 'b', 'secret')
    writeFile(path, 'x', 0o600)
    expect([path, join(home, 'a', 'b'), join(home, 'a')].map(each => statSync(each).mode & 0o777)).toEqual([
      0o600, 0o700, 0o700,
    ])
  })
})

describe('several organisations', () => {
  it('are told apart by name, and by the host names that each answers for', () => {
    writeContext(places, context('acme', ['prod.acme.example']))
    writeContext(places, context('globex', ['globex.example']))
    makeCurrent(places, 'globex')
    expect(currentContext(places)?.organisation).toBe('globex')
    expect(currentContext(places, 'acme')?.organisation).toBe('acme')
    expect(contextOfHost(places, 'web1.prod.acme.example')?.organisation).toBe('acme')
    expect(contextOfHost(places, 'web1.elsewhere.example')?.organisation).toBe('globex')
    expect(() => currentContext(places, '../acme')).toThrow('there is no context "../acme"')
  })
  it('never share a host name: what one has, another does not get', () => {
    const others = [{ organisation: 'acme', hostSuffixes: ['prod.example.com'] }]
    const claims = ['prod.example.com', 'example.com', 'eu.prod.example.com', 'dev.example.com', 'xprod.example.com']
    const { free, taken } = share(claims, others)
    expect(free).toEqual(['dev.example.com', 'xprod.example.com'])
    expect(taken.map(({ suffix }) => suffix)).toEqual(['prod.example.com', 'example.com', 'eu.prod.example.com'])
  })
})

describe('the server on this machine', () => {
  const local = { machinesUrl: 'https://localhost:4443', rootFingerprint: 'SHA256:x' }
  const lay = (mode = 0o600) => {
    mkdirSync(join(places.serverState, 'demo'), { recursive: true, mode: 0o755 })
    writeFileSync(join(places.serverState, 'local.json'), JSON.stringify(local))
    chmodSync(join(places.serverState, 'local.json'), mode)
    const demo = { name: 'demo.keyman.localhost', address: '127.0.0.1', port: 2200, login: 'alice' }
    writeFileSync(join(places.serverState, 'demo', 'demo.json'), JSON.stringify(demo))
    return demo
  }
  it('says who it is in its own data folder', () => {
    expect(localServer(places)).toBeUndefined()
    const demo = lay()
    expect(localServer(places)).toEqual(local)
    expect(localDemo(places, local)).toEqual(demo)
    expect(localDemo(places, { machinesUrl: 'https://elsewhere', rootFingerprint: 'SHA256:y' })).toBeUndefined()
  })
  it('is not believed where others can write the file or its folder', () => {
    lay(0o666)
    expect(localServer(places)).toBeUndefined()
    lay()
    chmodSync(places.serverState, 0o777)
    expect(localServer(places)).toBeUndefined()
  })
  it('nor where what stands there is nothing of ours', () => {
    lay()
    for (const text of ['', 'null', '[]', '{"machinesUrl":1}', '{']) {
      writeFileSync(join(places.serverState, 'local.json'), text)
      expect(localServer(places), text).toBeUndefined()
    }
  })
})

describe('a page', () => {
  it('of loopback is reached from elsewhere by a tunnel at the same port', () => {
    expect(tunnelTo('http://localhost:4480/device')).toBe('ssh -L 4480:127.0.0.1:4480 THIS-MACHINE')
    expect(tunnelTo('https://keys.example.com/device')).toBeUndefined()
  })
})

describe('a renewal', () => {
  const HOUR = 3_600_000
  const now = Date.parse('2026-11-25T12:00:00Z')
  const at = (hours: number) => new Date(now + hours * HOUR)
  const session = (starts: number, ends: number, sessionEnds: number): Session => ({
    person: 'alice@example.com',
    session: 'session_0123456789',
    owner: false,
    startedAt: at(starts).toISOString(),
    endsAt: at(sessionEnds).toISOString(),
    passkeys: 1,
    clientEndsAt: at(sessionEnds).toISOString(),
    keyIn: 'agent',
    ssh: {
      keyId: 'x',
      serial: '1',
      principals: [],
      startsAt: at(starts).toISOString(),
      endsAt: at(ends).toISOString(),
    },
  })
  it('is due when a third of the life is left, but not while more than four hours are', () => {
    expect(renewalDue(session(0, 3, 8), at(1.9))).toBe(false)
    expect(renewalDue(session(0, 3, 8), at(2))).toBe(true)
    expect(renewalDue(session(0, 24, 48), at(19.9))).toBe(false)
    expect(renewalDue(session(0, 24, 48), at(20))).toBe(true)
  })
  it('is not, where the certificate lasts as long as the session', () => {
    expect(renewalDue(session(0, 8, 8), at(7.9))).toBe(false)
  })
})
