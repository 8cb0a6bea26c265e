import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRateLimiter } from '#server/http/connections/rate-limit.ts'
import type { HostCaller } from '#server/identity/index.ts'
import { type hostStream, schemas } from '#shared/api/index.ts'
import { parseHostName, parseKeyId, parseLogin, parsePersonIdentity } from '#shared/names.ts'
import { fingerprint, parseCertificate } from '#shared/ssh/index.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { createLogins } from './index.ts'

const alice = parsePersonIdentity('alice@example.com', 'test')
let rooms: Rooms
let requests = 0
const at = () => ({ requestId: `req_logins_${++requests}`, from: '192.0.2.7' })

beforeAll(async () => {
  rooms = await openRooms()
  await rooms.addPerson(alice)
  await rooms.access.addGrant(
    schemas.newGrant.parse({ who: alice, login: 'deploy', hosts: { labels: { env: 'prod' } }, maxLifetime: 3600 }),
    { actor: { kind: 'operator' }, ...at() },
  )
})
afterAll(() => rooms?.close())

let hosts = 0
/** A host that has told of nothing yet. */
const host = (): HostCaller => ({
  kind: 'host',
  name: parseHostName(`web${++hosts}.prod.example.com`, 'test'),
  clientSpki: new Uint8Array(),
  clientFingerprint: '',
  epochs: [],
})
const RECORD = 'logins_abcdefghijkl'
const OTHER = `SHA256:${'o'.repeat(43)}`
type By = hostStream.LoginOpened['by']
const opened = (number: number, by: By = { method: 'password' }): hostStream.LoginEvent => ({
  ...{ event: 'opened', number, at: rooms.clock.now.toISOString(), login: parseLogin('deploy', 'test') },
  ...{ address: '192.0.2.99', port: 4711, by },
})
const closed = (number: number, of: number, order?: string): hostStream.LoginEvent => ({
  ...{ event: 'closed', number, opened: of, at: new Date(rooms.clock.now.getTime() + 90_000).toISOString() },
  ...(order === undefined ? {} : { order }),
})
const report = (caller: HostCaller, events: readonly hostStream.LoginEvent[], record = RECORD) =>
  rooms.logins.report(caller, { record, events }, at())
const of = ({ name }: HostCaller) => rooms.logins.list({ hosts: [name], limit: 100 })
const recordsOf = async ({ name }: HostCaller, kind: 'host-login' | 'host-logout') =>
  (await rooms.ledger.list({ limit: 1000, kind, actor: `host:${name}` })).map(({ record }) => JSON.parse(record))
/** As sshd says what somebody came in by. */
async function certificateOf(): Promise<Extract<By, { method: 'certificate' }>> {
  const caller = await rooms.addSession(alice)
  const issued = await rooms.authority.issueUserCertificate(caller, at())
  return {
    method: 'certificate',
    key: caller.ssh.fingerprint,
    keyId: parseKeyId(issued.keyId, 'test'),
    serial: issued.serial,
    authority: fingerprint(parseCertificate(issued.certificate).authorityKey),
  }
}

describe('what a host tells of its logins', () => {
  it('is listed and recorded, with whose certificate it was, how long it lasted, and by which order it ended', async () => {
    const web = host()
    const by = await certificateOf()
    expect(await report(web, [opened(1, by), opened(2, { method: 'publickey', key: OTHER })])).toBe(2)
    expect(await report(web, [closed(3, 1, '17')])).toBe(3)
    expect(await of(web)).toEqual([
      expect.objectContaining({ method: 'publickey', key: OTHER, ended: false }),
      expect.objectContaining({
        ...{ host: web.name, login: 'deploy', method: 'certificate', who: alice, keyId: by.keyId, serial: by.serial },
        ...{ authority: 'ssh-user-1', recorded: true, address: '192.0.2.99', port: 4711, ended: true },
        closedAt: new Date(rooms.clock.now.getTime() + 90_000).toISOString(),
      }),
    ])
    const [first] = await recordsOf(web, 'host-login')
    expect(first).toMatchObject({
      actor: { kind: 'host', name: web.name },
      target: alice,
      details: { login: 'deploy', method: 'certificate', recorded: true, serial: by.serial },
    })
    const [end] = await recordsOf(web, 'host-logout')
    expect(end).toMatchObject({ target: alice, details: { opened: 1, seconds: 90, order: '17' } })
    expect(await rooms.logins.endedBy(17n)).toEqual(new Map([[web.name, 1]]))
  })

  it('is counted once, however often it is told', async () => {
    const web = host()
    await report(web, [opened(1), opened(2)])
    expect(await report(web, [opened(1), opened(2), opened(3)])).toBe(3)
    const twice = await Promise.allSettled([report(web, [closed(4, 1)]), report(web, [closed(4, 1)])])
    expect(twice.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
    expect((await of(web)).length).toBe(3)
    expect((await recordsOf(web, 'host-login')).length).toBe(3)
    expect((await recordsOf(web, 'host-logout')).length).toBe(1)
  })

  it('says how much was lost, where numbers are missing; in order none are', async () => {
    const web = host()
    await report(web, [opened(1)])
    await report(web, [opened(5), opened(6)])
    const told = await recordsOf(web, 'host-login')
    expect(told.map(({ details }) => details.missing)).toEqual([undefined, 3, undefined])
    await expect(report(web, [opened(7), opened(9)])).rejects.toThrow(/must be the one after/)
  })

  it('begins anew with another record of the host: what was open in the former is known to be open no more', async () => {
    const web = host()
    await report(web, [opened(1)])
    await report(web, [opened(1)], 'logins_mnopqrstuvwx')
    const [newer, older] = await of(web)
    expect([newer?.closedAt, typeof older?.closedAt]).toEqual([undefined, 'string'])
  })

  it('closes no login of another host, whatever number it names', async () => {
    const [web, other] = [host(), host()]
    await report(web, [opened(1)])
    await report(other, [opened(1)])
    await report(other, [closed(2, 1)])
    expect((await of(web))[0]?.closedAt).toBeUndefined()
    expect((await of(other))[0]?.closedAt).toBeDefined()
  })

  it('rings for a certificate of ours that the log has no record of, and for no other', async () => {
    const web = host()
    const by = await certificateOf()
    const before = rooms.said.length
    const foreign: By = { ...by, authority: OTHER, serial: '18446744073709551615' }
    await report(web, [opened(1, by), opened(2, foreign)])
    expect(rooms.said.slice(before)).toEqual([])
    const strange: By[] = [
      { ...by, serial: '999999' },
      { ...by, serial: '18446744073709551615' },
      { ...by, keyId: parseKeyId('bob@example.com/passkey/session_abcdefghijkl', 'test') },
      { ...by, key: OTHER },
    ]
    for (const [i, each] of strange.entries()) {
      await report(web, [opened(3 + i, each)])
      expect(rooms.said.length).toBe(before + 1 + i)
    }
    expect(rooms.said.at(-1)).toContain(`ALARM: ${web.name} let somebody in as deploy from 192.0.2.99`)
    expect((await of(web)).map(({ recorded }) => recorded)).toEqual([false, false, false, false, undefined, true])
  })

  it('is refused where one host tells of too much, and no alarm of it drowns those of others', async () => {
    const [web, other] = [host(), host()]
    const by = { ...(await certificateOf()), serial: '888888' }
    const said: string[] = []
    // As `build-rooms.ts` has it, with smaller numbers.
    const limited = (burst: number) => createRateLimiter({ burst, perMinute: 1, now: () => 0 })
    const logins = createLogins({
      ...{ store: rooms.store, ledger: rooms.ledger, now: () => rooms.clock.now },
      authorityOf: print => rooms.authority.labelOf(print),
      ...{ limiter: limited(250), alarmLimiter: limited(5), alarm: message => void said.push(message) },
    })
    let number = 0
    const tell = (caller: HostCaller) =>
      logins.report(caller, { record: RECORD, events: Array.from({ length: 100 }, () => opened(++number, by)) }, at())
    await tell(web)
    await tell(web)
    await expect(tell(web)).rejects.toThrow(/too many/)
    expect(said.length).toBe(5)
    number = 0
    expect(await tell(other)).toBe(100)
    expect(said.length).toBe(10)
  })
})

it('lists by person, time, and what is open', async () => {
  const web = host()
  const by = await certificateOf()
  await report(web, [opened(1, by), opened(2, { method: 'password' })])
  await report(web, [closed(3, 2)])
  const filter = { hosts: [web.name], limit: 100 }
  const numbers = async (more: object) => (await rooms.logins.list({ ...filter, ...more })).map(({ method }) => method)
  expect(await numbers({})).toEqual(['password', 'certificate'])
  expect(await numbers({ subject: alice })).toEqual(['certificate'])
  expect(await numbers({ open: true })).toEqual(['certificate'])
  const later = new Date(rooms.clock.now.getTime() + 1000)
  expect(await numbers({ since: later })).toEqual([])
  expect(await numbers({ until: later })).toEqual(['password', 'certificate'])
  expect(await numbers({ hosts: [] })).toEqual([])
})

it('forgets what is older than a year, and the log does not', async () => {
  const web = host()
  const old = new Date(Date.now() - 366 * 86_400_000).toISOString()
  await report(web, [{ ...opened(1), at: old }, opened(2)])
  await rooms.logins.sweep(async () => undefined)
  expect((await of(web)).length).toBe(1)
  expect((await recordsOf(web, 'host-login')).length).toBe(2)
})
