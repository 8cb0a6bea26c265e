import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { contextTurn } from './change-context.ts'
import { readClient, readNextKey, writeClient, writeNextKey } from './client-files.ts'
import {
  clientRenewalDue,
  endOf,
  live,
  noteEnded,
  type PersonSession,
  readSession,
  removeSession,
  renewalDue,
  sessionFiles,
  type WorkloadSession,
  writeSession,
} from './context.ts'
import { type Folders, folders, makeFolder, workloadsFolder } from './folders.ts'
import { marksOf, writersTurn } from './marks.ts'

const parent = mkdtempSync(join(tmpdir(), 'keyman-workload-files-'))
afterAll(() => rmSync(parent, { recursive: true, force: true }))
let home: string
/** In a terminal, and by cron. */
let shell: Folders
let cron: Folders
beforeEach(() => {
  home = mkdtempSync(join(parent, 'home-'))
  mkdirSync(join(home, 'run'), { mode: 0o700 })
  shell = folders({ HOME: home, XDG_RUNTIME_DIR: join(home, 'run') })
  cron = { ...folders({ HOME: home }), runtime: join(home, 'elsewhere') }
})

const at = (hours: number) => new Date(Date.UTC(2030, 0, 1, hours)).toISOString()
const DAY = 24
const session = (): WorkloadSession => ({
  workload: 'payments/prod/backup',
  session: 'session_0123456789',
  startedAt: at(0),
  endsAt: at(90 * DAY),
  clientStartsAt: at(0),
  clientEndsAt: at(7 * DAY),
  keyIn: 'file',
  ssh: { keyId: 'x', serial: '7', principals: ['workload:payments/prod/backup'], startsAt: at(0), endsAt: at(8) },
})
const person = (): PersonSession => ({
  ...{ person: 'alice@example.com', owner: false, passkeys: 1, session: 'session_0123456789', keyIn: 'file' },
  ...{ startedAt: at(0), endsAt: at(8), clientEndsAt: at(8) },
})

describe("a workload's session", () => {
  it('is found by a terminal and by cron, with the same turns, and outlives the runtime folder', () => {
    makeFolder(join(workloadsFolder(shell), 'acme'))
    writeSession(shell, 'acme', session())
    expect(readSession(cron, 'acme')).toEqual(session())
    const turns = (places: Folders) => [
      ...Object.values(sessionFiles(places, 'acme')),
      ...Object.values(marksOf(places, { organisation: 'acme' })),
      ...[writersTurn(places, { organisation: 'acme' }), contextTurn(places, 'acme')],
    ]
    expect(turns(cron)).toEqual(turns(shell))
    for (const path of turns(shell)) expect(path.startsWith(`${shell.state}/workloads/`), path).toBe(true)
    expect(readdirSync(join(home, 'run'))).toEqual([])
  })
  it("is none of another organisation's, whose files lie where a person's do", () => {
    makeFolder(join(workloadsFolder(shell), 'acme'))
    expect(sessionFiles(shell, 'globex').folder).toBe(join(home, 'run', 'keyman', 'globex'))
    removeSession(shell, 'acme')
    expect(sessionFiles(shell, 'acme').folder).toBe(join(home, 'run', 'keyman', 'acme'))
  })
  it("is a workload's or a person's: a file that says both, or neither, is damaged", () => {
    writeSession(shell, 'acme', person())
    expect(readSession(shell, 'acme')).toEqual(person())
    const { workload: _, ...nobodys } = session()
    const { clientStartsAt: __, ...half } = session()
    for (const wrong of [{ ...person(), ...session() }, nobodys, half, { ...session(), keyIn: 'agent' }]) {
      writeFileSync(sessionFiles(shell, 'acme').session, JSON.stringify(wrong))
      expect(() => readSession(shell, 'acme')).toThrow('is damaged')
    }
  })
  it('ends with its client certificate, unless that is renewed: at half of its life', () => {
    expect(endOf(session())).toBe(at(7 * DAY))
    expect(live(session(), new Date(at(7 * DAY - 1)))).toBeDefined()
    expect(live(session(), new Date(at(7 * DAY)))).toBeUndefined()
    expect(clientRenewalDue(session(), new Date(at(3 * DAY)))).toBe(false)
    expect(clientRenewalDue(session(), new Date(at(4 * DAY)))).toBe(true)
    // Where it lasts as long as the session a renewal brings nothing more.
    expect(clientRenewalDue({ ...session(), endsAt: at(7 * DAY) }, new Date(at(6 * DAY)))).toBe(false)
    expect(clientRenewalDue(person(), new Date(at(7)))).toBe(false)
    const { ssh: _, ...uncertified } = session()
    const certified = { ...session(), ssh: { ...session().ssh, endsAt: at(90 * DAY) } } as WorkloadSession
    expect(renewalDue(uncertified, new Date(at(0)))).toBe(true)
    expect(renewalDue(certified, new Date(at(1)))).toBe(false)
    expect(renewalDue(certified, new Date(at(4 * DAY)))).toBe(true)
  })
})

describe("a workload's client key and certificate", () => {
  const client = (n: number) => ({
    key: `-----BEGIN PRIVATE KEY-----\n${n}\n-----END PRIVATE KEY-----\n`,
    certificate: `-----BEGIN CERTIFICATE-----\n${n}\n-----END CERTIFICATE-----\n`,
  })
  beforeEach(() => {
    makeFolder(join(workloadsFolder(shell), 'acme'))
  })
  it('lie in one file that nobody else reads, and are read together', () => {
    const files = sessionFiles(shell, 'acme')
    expect(readClient(files)).toBeUndefined()
    writeClient(files, client(1))
    expect(statSync(files.client).mode & 0o777).toBe(0o600)
    expect(readClient(files)).toEqual(client(1))
    writeClient(files, client(2))
    expect(readClient(files)).toEqual(client(2))
  })
  it('take the place of the ones before, and the key that was pending is pending no more', () => {
    const files = sessionFiles(shell, 'acme')
    writeNextKey(files, client(1).key)
    expect(statSync(files.nextClientKey).mode & 0o777).toBe(0o600)
    expect(readNextKey(files)).toBe(client(1).key)
    writeClient(files, client(1))
    expect(readNextKey(files)).toBeUndefined()
  })
  it('are what the server has ended; not those that another process has put there since', () => {
    const files = sessionFiles(shell, 'acme')
    writeSession(shell, 'acme', session())
    writeClient(files, client(2))
    noteEnded(cron, 'acme', client(1).certificate, new Date(at(1)))
    expect(readSession(shell, 'acme')).not.toHaveProperty('endedByServer')
    noteEnded(cron, 'acme', client(2).certificate, new Date(at(1)))
    expect(live(readSession(shell, 'acme'), new Date(at(1)))).toBeUndefined()
  })
})
