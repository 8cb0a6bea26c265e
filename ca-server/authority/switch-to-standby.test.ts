import { execFileSync } from 'node:child_process'
import { renameSync, writeFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { KeystoreConfig } from '#server/keystore/index.ts'
import type { Fact } from '#server/ledger/index.ts'
import { openPins } from '#server/pins/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { schemas } from '#shared/api/index.ts'
import { parseCertificate, parsePublicKey, verifyCertificate } from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { putBackBundleIn } from './index.ts'

let folder: string
let rooms: Rooms
let standbyKeystore: KeystoreConfig
/** Whether the first keystore does what it is asked. */
let isThere: boolean
/** When it says which keys it has. */
let answers: Promise<void>
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyman-switch-'))
  isThere = true
  answers = Promise.resolve()
  const [at, keyFile] = [join(folder, 'standby'), join(folder, 'standby.key')]
  standbyKeystore = { kind: 'software', folder: at, unlock: { keyFile } }
})
afterEach(async () => {
  await rooms.close()
  await rm(folder, { recursive: true })
})

let requests = 0
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_switch_${++requests}` })
const open = (standby: KeystoreConfig | undefined = standbyKeystore) =>
  openRooms({
    folder,
    ...(standby ? { standbyKeystore: standby } : {}),
    wrapKeystore: keystore => ({
      ...keystore,
      sign: (...given) => (isThere ? keystore.sign(...given) : Promise.reject(new Error('the token is gone'))),
      listKeys: async () => {
        await answers
        if (!isThere) throw new Error('the token is gone')
        return keystore.listKeys()
      },
      health: () => (isThere ? keystore.health() : Promise.reject(new Error('the token is gone'))),
    }),
  })
const bundle = async () => parseTrustDocument((await rooms.trust.bundles()).at(-1)?.document ?? '')
const states = async () => {
  const { ssh, x509 } = await bundle()
  return [ssh.userAuthorities, ssh.hostAuthorities, x509].map(keys => keys.map(({ state }) => state).join())
}
async function alice() {
  await rooms.addPerson('alice@example.com')
  const grant = { who: 'alice@example.com', login: 'deploy', hosts: { labels: { env: 'prod' } } }
  await rooms.access.addGrant(schemas.newGrant.parse(grant), by())
  return rooms.addSession('alice@example.com')
}
type Session = Awaited<ReturnType<typeof alice>>
/** Which of the trusted user authorities signed it, by its place in the bundle; its serial. */
async function issued(session: Session) {
  const { certificate } = await rooms.authority.issueUserCertificate(session, { requestId: by().requestId })
  const parsed = parseCertificate(certificate)
  const keys = (await bundle()).ssh.userAuthorities.map(({ key }) => parsePublicKey(key))
  return { by: keys.findIndex(key => verifyCertificate(parsed, [key])), serial: parsed.serial }
}
/** As whoever has looked at the plan does it. */
const switched = async () =>
  rooms.authority.switchToStandby(
    by(),
    (await rooms.authority.standby()).map(({ to }) => to),
  )
const records = async () =>
  (await rooms.ledger.list({ limit: 100, kind: 'authority-switched' })).map(({ record }) => JSON.parse(record))

it('the standby keys sign from then on, each with serials of its own, and the keys of before are trusted still', async () => {
  rooms = await open()
  const session = await alice()
  expect(await issued(session)).toEqual({ by: 0, serial: 2n })
  isThere = false
  await expect(issued(session)).rejects.toThrow()
  expect(await rooms.authority.standby()).toEqual(await switched())
  expect(await issued(session)).toEqual({ by: 1, serial: 2n })
  expect(await issued(session)).toEqual({ by: 1, serial: 3n })
  expect(await rooms.trust.publishHeld()).toBe(true)
  expect(await states()).toEqual(['retired,active', 'retired,active', 'retired,active'])
  expect(await bundle()).toMatchObject({ version: 2 })
  const { pem } = await rooms.authority.issueSessionClientCertificate(session, { requestId: by().requestId })
  expect(pem).toContain('BEGIN CERTIFICATE')
  expect(await records()).toMatchObject([
    { details: { 'ssh-user': 'ssh-user-1 -> ssh-user-2', 'ssh-host': 'ssh-host-1 -> ssh-host-2' } },
  ])
})

describe('takes effect by what the log says alone, whatever the lost keystore does not answer', () => {
  let answer: () => void
  let session: Session
  beforeEach(async () => {
    rooms = await open()
    session = await alice()
    const late = Promise.withResolvers<void>()
    answer = late.resolve
    answers = late.promise
  })
  afterEach(() => answer())

  it('on the server where it is made', async () => {
    await switched()
    expect((await issued(session)).by).toBe(1)
  })

  it('on the others', async () => {
    const facts = [{ id: 'signer:ssh-user', is: 'ssh-user-2' }]
    await rooms.store.transaction({ name: 'another server', deadlineMs: 5_000 }, t =>
      rooms.ledger.appendIn(t, [{ ...by(), kind: 'authority-switched', target: 'ssh-user-2', facts }]),
    )
    await rooms.ledger.follow()
    expect((await issued(session)).by).toBe(1)
  })
})

it('is so at the next start, too, where the keystore of before may be gone or a third be the standby', async () => {
  rooms = await open()
  const session = await alice()
  await switched()
  await rooms.trust.publishHeld()
  await rooms.close()
  // The same set-up: the keystore that was the first gets the new standby keys.
  rooms = await open()
  expect(await states()).toEqual(['retired,active,standby', 'retired,active,standby', 'retired,active,standby'])
  expect((await issued(session)).by).toBe(1)
  expect((await rooms.keystore.listKeys()).map(({ label }) => label)).toContain('ssh-user-3')
  // And back.
  await switched()
  expect((await issued(session)).by).toBe(2)
  expect(await rooms.trust.publishHeld()).toBe(true)
  expect(await states()).toEqual(['retired,retired,active', 'retired,retired,active', 'retired,retired,active'])
})

it('what a row says of who signs counts for nothing, before a switch and after it', async () => {
  rooms = await open()
  const session = await alice()
  const swap = async () => {
    for (const state of ['retired', 'active'])
      await rooms.store.execute(
        `update authority_key set state = $1 where purpose = 'ssh-user' and state <> 'retired' and label ${state === 'active' ? '<>' : '='} $2`,
        [state, 'ssh-user-1'],
      )
  }
  await swap()
  await rooms.authority.reload().catch(() => {})
  expect((await issued(session)).by).toBe(0)
  await rooms.store.execute(`update authority_key set state = 'standby' where label = 'ssh-user-2'`, [])
  await rooms.store.execute(`update authority_key set state = 'active' where label = 'ssh-user-1'`, [])
  await switched()
  expect((await issued(session)).by).toBe(1)
  await rooms.store.execute(`update authority_key set state = 'retired' where label = 'ssh-user-2'`, [])
  await rooms.store.execute(`update authority_key set state = 'active' where label = 'ssh-user-1'`, [])
  await rooms.authority.reload()
  expect((await issued(session)).by).toBe(1)
})

it('makes none but those keys the signers that somebody has looked at', async () => {
  rooms = await open()
  const session = await alice()
  for (const confirmed of [[], ['ssh-user-2', 'ssh-host-2', 'machines-3']])
    await expect(rooms.authority.switchToStandby(by(), confirmed)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('the standby keys are ssh-user-2 ssh-host-2 machines-2 by now'),
    })
  expect([await records(), (await issued(session)).by]).toEqual([[], 0])
  await rooms.authority.switchToStandby(by(), ['ssh-user-2', 'ssh-host-2', 'machines-2'])
  expect((await issued(session)).by).toBe(1)
})

it('is refused where there is no standby: nothing is changed', async () => {
  rooms = await openRooms({ folder })
  await expect(switched()).rejects.toMatchObject({
    code: 'conflict',
    message: 'there is no standby key for ssh-user',
  })
  expect(await records()).toEqual([])
  await rooms.close()
  rooms = await open()
  await switched()
  expect(await records()).toHaveLength(1)
})

it('keys that the root of trust has not signed yet sign nothing; once it has they may, and the switch itself waits for no ceremony', async () => {
  rooms = await openRooms({ folder })
  const session = await alice()
  const root = join(folder, 'root', 'root_key')
  const away = join(folder, 'root_key')
  await rooms.close()
  renameSync(root, away)
  rooms = await open()
  expect(await states()).toEqual(['active', 'active', 'active'])
  await expect(switched()).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('ssh-user-2 is not in the trust bundle'),
  })
  const ceremony = async () => {
    const document = await rooms.trust.next()
    const file = join(folder, 'document')
    writeFileSync(file, document)
    execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'keyman-trust', '-f', away, file])
    const signature = (await readFile(`${file}.sig`, 'utf8')).trim()
    await rm(`${file}.sig`)
    await rooms.trust.publish({ document, signatures: [signature] }, by())
  }
  await ceremony()
  await switched()
  expect(await rooms.trust.publishHeld()).toBe(false)
  expect(await states()).toEqual(['active,standby', 'active,standby', 'active,standby'])
  expect((await issued(session)).by).toBe(1)
  expect(await rooms.trust.pending()).toBeDefined()
  await ceremony()
  expect(await states()).toEqual(['retired,active', 'retired,active', 'retired,active'])
  expect((await issued(session)).by).toBe(1)
})

it('is known by the bundle alone where a backup of before was put back, whatever its log says of a switch before that', async () => {
  rooms = await open()
  const session = await alice()
  await switched()
  await rooms.trust.publishHeld()
  const record = (facts: readonly Fact[], t: Queryable) =>
    rooms.ledger.appendIn(t, [{ ...by(), kind: 'restored', target: 'the backup', facts }])
  // As the log of the backup says it.
  const before = ['ssh-user', 'ssh-host', 'machines'].map(purpose => ({ id: `signer:${purpose}`, is: `${purpose}-1` }))
  await rooms.store.transaction({ name: 'the backup', deadlineMs: 5_000 }, t => record(before, t))
  await rooms.ledger.follow()
  await rooms.store.execute('delete from trust_bundle where version > 1', [])
  for (const [state, labels] of [
    ['standby', ['ssh-user-2', 'ssh-host-2', 'machines-2']],
    ['active', ['ssh-user-1', 'ssh-host-1', 'machines-1']],
  ] as const)
    for (const label of labels)
      await rooms.store.execute('update authority_key set state = $1 where label = $2', [state, label])
  expect((await issued(session)).by).toBe(0)
  await rooms.store.transaction({ name: 'put back', deadlineMs: 5_000 }, async t =>
    record(await putBackBundleIn(rooms.ledger, t, openPins(folder), rooms.clock.now), t),
  )
  const rows = await rooms.store.query('select label, state from authority_key order by label', [], {
    parse: row => `${Reflect.get(Object(row), 'label')} ${Reflect.get(Object(row), 'state')}`,
  })
  expect(rows).toEqual([
    'machines-1 retired',
    'machines-2 active',
    'ssh-host-1 retired',
    'ssh-host-2 active',
    'ssh-user-1 retired',
    'ssh-user-2 active',
  ])
  expect((await bundle()).version).toBe(2)
  await rooms.ledger.follow()
  expect((await issued(session)).by).toBe(1)
})
