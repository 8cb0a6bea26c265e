import { generateKeyPairSync, sign } from 'node:crypto'
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { call } from '#cli/server/client.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { api } from '#shared/api/index.ts'
import { fromBase64Url } from '#shared/bytes.ts'
import { noteKeyId, signedNote } from '#shared/merkle/index.ts'
import { page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop, type Result } from '#test/support/people/laptop.ts'
import { type AttackWorld, bodyOf, openAttackWorld } from '#test/support/worlds/attack-world.ts'

/**
 * Whoever administers the database changes the log of a stopped server. The checker is the real CLI on a machine that
 * remembers a checkpoint; before each attack the database is as it was when that was remembered.
 */
let world: AttackWorld
let laptop: Laptop
let database: string
let pins: string
let kept: string

beforeAll(async () => {
  world = await openAttackWorld()
  laptop = await openLaptop(world.server.folder, world.server.env, { agent: false })
  database = join(world.server.dataFolder, 'database')
  pins = join(world.server.dataFolder, 'pins')
  kept = join(world.server.folder, 'kept')
  const { code, stderr } = await laptop.keyman(['login', '--ssh-config', 'no', '--yes', '--for', '8h'], allow)
  expect(code, stderr).toBe(0)
  await record(6)
  expect(await verify()).toMatchObject({ code: 0, stdout: expect.stringContaining('is whole') })
  await world.server.stop()
  cpSync(database, join(kept, 'database'), { recursive: true })
  cpSync(pins, join(kept, 'pins'), { recursive: true })
})
afterAll(async () => {
  await laptop?.close()
  await world?.close()
})

/** Opens the page that the CLI asked for, touches the passkey, and goes where the browser would be sent. */
async function allow(url: string): Promise<void> {
  const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
  const { options } = await page(world.server, api.login.consentOptions, { params })
  const body = { assertion: world.alice.person.authenticator.get(options) }
  const { redirectTo } = await page(world.server, api.login.consent, { params, body })
  await fetch(redirectTo ?? '')
}
const verify = (): Promise<Result> => laptop.keyman(['audit', 'verify'])

let teams = 0
async function record(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const body = bodyOf(api.teams.addMembers, { persons: ['bob@example.com'] })
    await call(world.alice.connection, api.teams.addMembers, { params: { name: `team${teams++}` }, body })
  }
}

/** With what the server remembers: an embedded database lies beside it. */
function restore(other: { memory: boolean } = { memory: true }): void {
  for (const [folder, from] of [
    [database, 'database'],
    ...(other.memory ? ([[pins, 'pins']] as const) : []),
  ] as const) {
    rmSync(folder, { recursive: true })
    cpSync(join(kept, from), folder, { recursive: true })
  }
}
async function tamper(work: (store: Store) => Promise<unknown>): Promise<void> {
  restore()
  const store = await openStore({ engine: 'pglite', folder: database })
  try {
    await work(store)
  } finally {
    await store.close()
  }
}
/** What the CLI finds once the server runs again on the changed database. */
async function found(work: (store: Store) => Promise<unknown>): Promise<Result> {
  await tamper(work)
  await world.server.restart()
  const result = await verify()
  await world.server.stop()
  return result
}
const tampered = (what: RegExp) => ({ code: 9, stdout: expect.stringMatching(what) })

it('row changed by one byte: the record is named', async () => {
  const result = await found(store =>
    store.execute(
      `update ledger_record set record = overlay(record placing ' ' from length(record) - 1 for 1) where index = 5`,
      [],
    ),
  )
  expect(result).toMatchObject(tampered(/record 5 was changed/))
})

it('row removed: the record is named', async () => {
  const result = await found(store => store.execute('delete from ledger_record where index = 4', []))
  expect(result).toMatchObject(tampered(/record 4 is missing/))
})

it('row removed before it is in the tree: the server does not start on it', async () => {
  await tamper(async store => {
    await store.execute(
      `insert into ledger_record (index, request_id, kind, part, actor, at, record)
       select size + 1, 'req_later', kind, 0, actor, at, record from ledger_record, ledger_head where index = 4`,
      [],
    )
    await store.execute('update ledger_head set size = size + 2', [])
  })
  await expect(world.server.restart()).rejects.toThrow(/record \d+ of the audit log is missing/)
})

it('rows reordered: the first one is named, and where it stands now', async () => {
  const result = await found(store =>
    store.execute(
      `update ledger_record a set record = b.record from ledger_record b where (a.index, b.index) in ((3, 6), (6, 3))`,
      [],
    ),
  )
  expect(result).toMatchObject(tampered(/record 3 is not at its place: it stands at 6/))
})

it('row inserted: the record is named at which the log parts from its tree', async () => {
  const result = await found(async store => {
    await store.execute('update ledger_record set index = index + 1000000 where index >= 5', [])
    await store.execute('update ledger_record set index = index - 999999 where index >= 1000000', [])
    await store.execute(
      `insert into ledger_record (index, request_id, kind, part, actor, at, record)
       select 5, 'req_forged', kind, 0, actor, at, replace(record, 'alice', 'mallo') from ledger_record where index = 4`,
      [],
    )
    await store.execute('update ledger_head set size = size + 1', [])
  })
  expect(result).toMatchObject(tampered(/record 5 /))
})

it('row changed together with its hash in the tree: the server does not start on it', async () => {
  await tamper(async store => {
    await store.execute(
      `update ledger_record set record = overlay(record placing ' ' from length(record) - 1 for 1) where index = 5`,
      [],
    )
    await store.execute(
      `update ledger_tile set hashes = overlay(hashes placing sha256('\\x00'::bytea ||
         convert_to((select record from ledger_record where index = 5), 'utf8')) from 5 * 32 + 1 for 32)
       where level = 0 and index = 0`,
      [],
    )
  })
  await expect(world.server.restart()).rejects.toThrow(/is not the one that this server remembers/)
})

it("tree head of another log, or signed by another key under this log's name: the server does not start on it", async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const key = fromBase64Url(publicKey.export({ format: 'jwk' }).x ?? '')
  const resign = (rename: (origin: string) => string) =>
    tamper(async store => {
      const [newest] = await store.query(
        'select note from ledger_checkpoint order by size desc limit 1',
        [],
        z.object({ note: z.string() }),
      )
      const [head = ''] = newest?.note.split('\n\n') ?? []
      const [origin = '', ...rest] = head.split('\n')
      const name = rename(origin)
      const note = await signedNote(`${[name, ...rest].join('\n')}\n`, {
        name,
        keyId: noteKeyId(name, key),
        sign: async bytes => new Uint8Array(sign(null, bytes, privateKey)),
      })
      await store.execute(
        'update ledger_checkpoint set note = $1 where size = (select max(size) from ledger_checkpoint)',
        [note],
      )
    })
  for (const rename of [(origin: string) => origin, () => 'other.example.com/log']) {
    await resign(rename)
    await expect(world.server.restart()).rejects.toThrow(
      /a checkpoint of the audit log is not ours: .*\n.*hint: .*keystore/,
    )
  }
})

it('fork of the log: a machine that saw the one is told when it is shown the other, and when records are gone', async () => {
  restore()
  await world.server.restart()
  await record(8)
  expect(await verify()).toMatchObject({ code: 0 })
  await world.server.stop()

  // The server itself remembers; and where its memory was put back too, the laptop does.
  restore({ memory: false })
  await expect(world.server.restart()).rejects.toThrow(/the log that this server remembers has \d+/)
  restore()
  await world.server.restart()
  expect(await verify()).toMatchObject(tampered(/record \d+ is missing: the checkpoint that this machine remembers/))
  expect(await laptop.keyman(['audit', 'export'])).toMatchObject({
    ...{ code: 9, stdout: '' },
    stderr: expect.stringMatching(/^Nothing was exported: the log has \d+ records, but \d+ were seen/),
  })
  expect(await laptop.keyman(['audit', 'checkpoint'])).toMatchObject({
    ...{ code: 9, stdout: '' },
    stderr: expect.stringMatching(/^The log was tampered with: the log has \d+ records, but \d+ were seen/),
  })
  await record(12)
  expect(await verify()).toMatchObject(tampered(/is not that of the checkpoint that this machine remembers/))
})
