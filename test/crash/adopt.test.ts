import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { call } from '#cli/server/client.ts'
import { openLogKeys } from '#server/authority/index.ts'
import { loadConfig } from '#server/config/index.ts'
import { logName, makeSealKey } from '#server/ledger/index.ts'
import { advanceTree, putNote } from '#server/ledger/tree-store.ts'
import { openBase } from '#server/open-base.ts'
import { adopt } from '#server/operator/adopt.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { api } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { encodeCheckpoint, leafHash, noteKeyId, signedNote, TreeEdge } from '#shared/merkle/index.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { logIn } from '#test/support/people/api-person.ts'
import { type AttackWorld, openAttackWorld } from '#test/support/worlds/attack-world.ts'

/** First a database whose seals somebody took away; then one as the release before wrote it: the same rows, and a log that seals nothing. */
let world: AttackWorld
const database = () => `${world.server.dataFolder}/database`
const config = () => loadConfig({ env: { ...process.env, ...world.server.env }, home: world.server.folder })

beforeAll(async () => {
  world = await openAttackWorld()
  await call(world.alice.connection, api.teams.addMembers, {
    params: { name: 'sre' },
    body: { persons: [parsePersonIdentity('bob@example.com', 'test')] },
  })
  await world.server.stop()
  await change(async store => {
    await store.execute('update ledger_record set seal = null', [])
    await store.execute(`delete from server_secret where name = 'record seal'`, [])
  })
})
afterAll(() => world?.close())

/** Records that say nothing of rows, with the tree and the signed head that belong to them. */
async function asBeforeSeals(): Promise<void> {
  const { store, logKeystores, close } = await openBase(config(), () => {})
  const name = logName(config().organisation, store.incarnation)
  const [held] = await openLogKeys(logKeystores)
  if (!held) throw new Error('a log key')
  const { publicKey, sign } = held
  const rows = await store.query(
    'select index, record from ledger_record order by index',
    [],
    z.object({ index: z.bigint(), record: z.string() }),
  )
  const edge = TreeEdge.empty()
  const texts = rows.map(({ record }) => {
    const { facts: _, after: __, place: ___, root: ____, ...said } = JSON.parse(record)
    return JSON.stringify(said)
  })
  for (const [n, { index }] of rows.entries())
    await store.execute('update ledger_record set record = $2 where index = $1', [index, texts[n] ?? ''])
  for (const forget of ['delete from ledger_tile', 'delete from ledger_checkpoint', 'update ledger_tree set size = 0'])
    await store.execute(forget, [])
  await advanceTree(store, 0n, BigInt(rows.length), edge.append(texts.map(text => leafHash(utf8(text)))))
  const head = encodeCheckpoint({ origin: name, size: edge.size, root: edge.root() })
  await putNote(store, edge.size, await signedNote(head, { name, keyId: noteKeyId(name, publicKey), sign }), new Date())
  await close()
}

async function change(work: (store: Store) => Promise<unknown>): Promise<void> {
  const store = await openStore({ engine: 'pglite', folder: database() })
  await work(store).finally(() => store.close())
}

it('a log whose seals somebody took away is none to be taken over: this server remembers it', async () => {
  await expect(adopt(config(), async () => true)).rejects.toThrow(/remembers a log whose records are sealed/)
})

it('nor is it where nobody remembers it: its records say what only sealed ones say', async () => {
  // As it is where the release before ran.
  for (const pin of ['log-head', 'log-state']) rmSync(join(world.server.dataFolder, 'pins', `${pin}.json`))
  await expect(adopt(config(), async () => true)).rejects.toThrow(/are sealed already/)
  await asBeforeSeals()
  expect(await adopt(config(), async () => false)).toBe('left')
})

it('a log without seals is taken over by nobody but the operator: the server does not start on it', async () => {
  await expect(world.server.restart()).rejects.toThrow(/keyman-server adopt/)
})

it('a row that no record explains is shown, and nothing is taken over without an answer', async () => {
  await change(store =>
    store.execute(`insert into team_member (team, person) values ('sre', 'mallory@example.com')`, []),
  )
  const shown: string[] = []
  const look = adopt(config(), async ({ unexplained }) => {
    shown.push(...unexplained)
    return false
  })
  expect(await look).toBe('left')
  expect(shown).toEqual(['member:sre mallory@example.com'])
  await change(store => store.execute(`delete from team_member where person = 'mallory@example.com'`, []))
})

it('a record that was changed is found, and nothing is taken over', async () => {
  await change(store =>
    store.execute(`update ledger_record set record = replace(record, 'alice', 'mallo') where index = 9`, []),
  )
  await expect(adopt(config(), async () => true)).rejects.toThrow(/are not those of its newest checkpoint/)
  await change(store =>
    store.execute(`update ledger_record set record = replace(record, 'mallo', 'alice') where index = 9`, []),
  )
})

it('a log without a signed head is none to be taken over, whatever its records say', async () => {
  await change(async store => {
    await store.execute('create table kept_head as select * from ledger_checkpoint', [])
    await store.execute('delete from ledger_checkpoint', [])
  })
  await expect(adopt(config(), async () => true)).rejects.toThrow(/no signed head of this audit log/)
  await change(async store => {
    await store.execute('insert into ledger_checkpoint select * from kept_head', [])
    await store.execute('drop table kept_head', [])
  })
})

it('an adoption that was interrupted is no hindrance: its key is there, and no seal', async () => {
  const { store, wrappingKeystores: keystores, close } = await openBase(config(), () => {})
  const random = (bytes: number) => new Uint8Array(randomBytes(bytes))
  await makeSealKey({ store, keystores, random, now: () => new Date() }).finally(close)
  expect(await adopt(config(), async () => false)).toBe('left')
})

it('what the log explains is sealed as it is; sessions end, persons sign in again, and it can be done once', async () => {
  expect(await adopt(config(), async ({ unexplained }) => unexplained.length === 0)).toBe('adopted')
  await world.server.restart()
  await expect(call(world.alice.connection, api.session.show)).rejects.toMatchObject({ code: 'not-signed-in' })
  const again = await logIn(world.server, world.alice.person)
  const { teams } = await call(again.connection, api.teams.list)
  expect(teams).toEqual([{ name: 'sre', members: ['bob@example.com'] }])
  await world.server.stop()
  await expect(adopt(config(), async () => true)).rejects.toThrow(/remembers a log whose records are sealed/)
})
