import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { compose } from '#server/compose.ts'
import { loadConfig, type ServerConfig } from '#server/config/index.ts'
import { createLog } from '#server/log.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'
import { decodeKrl } from '#shared/ssh/index.ts'
import { fastFolder } from '#test/support/fast-folder.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { restore } from './restore.ts'
import { switchCommand } from './switch-command.ts'

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

it('goes on where the first is lost: the log key of the other is believed as well; the switch is to be made before the start', async () => {
  lose(one.keystore)
  const { lost, checkpointFile } = await restored(both)
  expect(lost).toBeDefined()
  expect(away).toEqual([expect.stringMatching(/^keystore is away: /)])
  expect(parseCheckpoint(readFileSync(checkpointFile, 'utf8')).origin).toBe('acme/keyman-log-2')
  await expect(open(both)).rejects.toMatchObject({
    code: 'unavailable',
    hint: expect.stringContaining('keyman-server authority switch-to-standby'),
  })
  expect(await switchCommand(both, true)).toBe(0)
  expect(await revoked(both)).toEqual([BEFORE, BEFORE])
})

it('makes no log key where the only keystore that is left holds none, and says that no history goes on without', async () => {
  lose(one.keystore)
  const { standbyKeystore } = both
  if (standbyKeystore?.kind !== 'software') throw new Error('a software keystore')
  const files = readdirSync(standbyKeystore.folder).filter(name => name.includes('log-1'))
  expect(files).toHaveLength(1)
  const [from, to] = [join(standbyKeystore.folder, files[0] ?? ''), join(folder, 'kept')]
  renameSync(from, to)
  const refused = { code: 'unavailable', message: expect.stringContaining('holds a log key') }
  await expect(restored(both)).rejects.toMatchObject(refused)
  await expect(restored(both)).rejects.toMatchObject(refused)
  renameSync(to, from)
  expect((await restored(both)).lost).toBeDefined()
})

/** Once more from the backup on, with such a switch or without, which no trust bundle names: the root of trust is elsewhere. */
async function switchAfterBackup(isSwitched: boolean): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const { database } = both
  if (database.engine !== 'pglite') throw new Error(database.engine)
  await newPGlite(database.folder)
  await (await open(both)).close()
  renameSync(join(both.dataFolder, 'root', 'root_key'), join(folder, 'root_key'))
  cpSync(database.folder, join(folder, 'backup'), { recursive: true })
  const services = await open(both)
  if (isSwitched) {
    const labels = (await services.authority.standby()).map(({ to }) => to)
    await services.authority.switchToStandby({ actor: { kind: 'operator' }, requestId: 'req_switch' }, labels)
  }
  await services.close()
  rmSync(database.folder, { recursive: true })
  renameSync(join(folder, 'backup'), database.folder)
}

it('says that a switch to the standby keys is undone by the backup, and nothing where there was none', async () => {
  await switchAfterBackup(true)
  const { undone } = await restored(both)
  expect(undone.map(({ label }) => label).toSorted()).toEqual(['machines-2', 'ssh-host-2', 'ssh-user-2'])
  await switchAfterBackup(false)
  expect((await restored(both)).undone).toEqual([])
})
