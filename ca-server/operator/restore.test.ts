import { cpSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { compose } from '#server/compose.ts'
import { loadConfig, type ServerConfig } from '#server/config/index.ts'
import { createLog } from '#server/log.ts'
import { decodeKrl } from '#shared/ssh/index.ts'
import { fastFolder } from '#test/support/fast-folder.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { restore } from './restore.ts'

let folder: string
/** With both keystores, and without the second. */
let both: ServerConfig
let one: ServerConfig
let away: string[]
beforeEach(async () => {
  folder = fastFolder('keyman-restore-')
  away = []
  const env = { KEYMAN_DATA_FOLDER: join(folder, 'data'), KEYMAN_ORGANISATION: 'acme' }
  one = loadConfig({ env, home: folder })
  both = loadConfig({ env: { ...env, KEYMAN_KEYSTORE_STANDBY_KIND: 'software' }, home: folder })
  const { database } = both
  if (database.engine !== 'pglite') throw new Error(database.engine)
  await newPGlite(database.folder)
  await (await open(both)).close()
  cpSync(database.folder, join(folder, 'backup'), { recursive: true })
  // What is lost with the database: its stop stands in the log, too.
  await (await open(both)).close()
  rmSync(database.folder, { recursive: true })
  renameSync(join(folder, 'backup'), database.folder)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const open = async (config: ServerConfig) => {
  const services = await compose({ config, log: createLog({ write: () => undefined }) })
  await services.ledger.append({ requestId: services.requestId(), kind: 'server-started', actor: { kind: 'server' } })
  return services
}
const restored = (config: ServerConfig) => restore({ config, keep: [], hearAway: message => void away.push(message) })
/** Of each user authority: how many intervals of serials nobody accepts any more. */
async function revoked(config: ServerConfig) {
  const services = await open(config)
  const { certificates } = decodeKrl((await services.authority.currentKrl()).bytes)
  await services.close()
  return certificates.map(({ serials }) => serials.at(-1)?.to)
}
const BEFORE = (1n << 40n) - 1n
/** Its files are there, and nothing opens them. */
const lose = (keystore: ServerConfig['keystore'] | undefined) => {
  const unlock = keystore?.kind === 'software' ? keystore.unlock : undefined
  if (!unlock || !('keyFile' in unlock)) throw new Error('a key file')
  rmSync(unlock.keyFile)
}
const loseStandby = () => lose(both.standbyKeystore)

it('a restore revokes what either keystore has signed before', async () => {
  await restored(both)
  expect(await revoked(both)).toEqual([BEFORE, BEFORE])
  expect(away).toEqual([])
})

it('does so where the second is lost and was taken out of the configuration: its keys are those of the trust bundle', async () => {
  loseStandby()
  await restored(one)
  expect(await revoked(one)).toEqual([BEFORE, BEFORE])
})

it('does so where the second is lost and still stands in the configuration, and says which it is', async () => {
  loseStandby()
  await restored(both)
  expect(away).toEqual([expect.stringMatching(/^keystore\.standby is away: /)])
  expect(await revoked(one)).toEqual([BEFORE, BEFORE])
})

it('makes no log key in the keystore that is left where the first is lost, and says that no history goes on without', async () => {
  lose(one.keystore)
  const refused = { code: 'unavailable', message: expect.stringContaining('holds no log key') }
  await expect(restored(both)).rejects.toMatchObject(refused)
  await expect(restored(both)).rejects.toMatchObject(refused)
})
