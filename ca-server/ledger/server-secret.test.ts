import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type Keystore, openKeystore } from '#server/keystore/index.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { toHex } from '#shared/bytes.ts'
import { fastFolder } from '#test/support/fast-folder.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { serverSecret } from './index.ts'

/** Two keystores wrap the same secrets, whichever of them is lost and whatever somebody writes into the table. */
let store: Store
let one: Keystore
let two: Keystore
let three: Keystore
beforeAll(async () => {
  const folder = fastFolder('keyman-secrets-')
  store = await openStore(await newPGlite(join(folder, 'db')))
  const open = (name: string) =>
    openKeystore({ kind: 'software', folder: join(folder, name), unlock: { keyFile: join(folder, `${name}.key`) } })
  one = await open('one')
  two = await open('two')
  three = await open('three')
})
afterAll(async () => {
  await store.close()
  for (const keystore of [one, two, three]) await keystore.close()
})
beforeEach(async () => {
  await store.execute('delete from server_secret', [])
})

const secret = async (keystores: readonly Keystore[], name = 'challenge') =>
  toHex(
    await serverSecret(
      { store, keystores, random: bytes => new Uint8Array(randomBytes(bytes)), now: () => new Date() },
      name,
    ),
  )
const write = (sql: string, ...given: Uint8Array[]) => store.execute(`update server_secret set ${sql}`, given)
const columns = () =>
  store.query('select wrapped, wrapped_too from server_secret', [], {
    parse: row => [Reflect.get(Object(row), 'wrapped'), Reflect.get(Object(row), 'wrapped_too')],
  })
const DENIED = { code: 'denied', message: expect.stringContaining('no keystore of this server opens') }

it('either keystore gives it, in whichever order the configuration names them', async () => {
  const made = await secret([one, two])
  for (const keystores of [[one], [two], [two, one], [one, two]]) expect(await secret(keystores)).toBe(made)
  await expect(secret([three])).rejects.toMatchObject(DENIED)
})

it('a keystore that comes later wraps it, in the place of the one that is gone; nothing is written where nothing is missing', async () => {
  const made = await secret([one])
  expect(await secret([one, two])).toBe(made)
  expect(await secret([two])).toBe(made)
  const before = await columns()
  expect(await secret([two, one])).toBe(made)
  expect(await columns()).toEqual(before)
  expect(await secret([two, three])).toBe(made)
  expect(await secret([three])).toBe(made)
  expect(await secret([two])).toBe(made)
  await expect(secret([one])).rejects.toMatchObject(DENIED)
})

it('what somebody wrote over one of them is passed over and written anew; over both of them there is no way on', async () => {
  const made = await secret([one, two])
  const kept = (await columns())[0]
  for (const garbage of ['\\x', '\\x01', `\\x01${'00'.repeat(60)}`]) {
    await write(`wrapped = '${garbage}'`)
    await expect(secret([one])).rejects.toMatchObject(DENIED)
    expect(await secret([one, two])).toBe(made)
    expect([await secret([one]), await secret([two])]).toEqual([made, made])
    await write(`wrapped = '${garbage}', wrapped_too = '${garbage}'`)
    await expect(secret([one, two])).rejects.toMatchObject(DENIED)
    await write('wrapped = $1, wrapped_too = $2', kept?.[0], kept?.[1])
  }
})

it('the secret of another name opens under none but its own', async () => {
  const [made, other] = [await secret([one, two]), await secret([one, two], 'in force')]
  const swapped = (column: string) =>
    write(`${column} = (select o.${column} from server_secret o where o.name <> server_secret.name)`)
  await swapped('wrapped')
  await expect(secret([one])).rejects.toMatchObject(DENIED)
  expect([await secret([two]), await secret([two], 'in force')]).toEqual([made, other])
  await swapped('wrapped_too')
  await expect(secret([one, two])).rejects.toMatchObject(DENIED)
  await swapped('wrapped')
  expect([await secret([one, two]), await secret([one, two], 'in force')]).toEqual([made, other])
})

it('two that are each good and not the same are refused: one is of before somebody took the row away', async () => {
  await secret([one, two])
  const old = (await columns())[0]
  await store.execute('delete from server_secret', [])
  const made = await secret([one, two])
  const now = (await columns())[0]
  await write('wrapped_too = $1', old?.[1])
  await expect(secret([one, two])).rejects.toMatchObject({
    code: 'denied',
    message: expect.stringContaining('different secrets of the servers, "challenge"'),
  })
  await write('wrapped_too = $1', now?.[1])
  expect(await secret([one, two])).toBe(made)
})
