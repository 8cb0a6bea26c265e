import { accessSync, constants, existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { MAX_CLOCKS_APART } from '#server/authority/index.ts'
import { checkPostgres } from '#server/store/index.ts'
import { type FieldError, KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'
import type { KeystoreSettings, ReadConfig, ServerConfig } from '../config/index.ts'
import { checkDataFolder } from '../data-folder.ts'
import { listenOn } from '../http/connections/listen-on.ts'
import { openConfigured } from '../open-base.ts'
import { checkPagesCertificate } from '../pages-certificate.ts'
import { isServed } from './operator.ts'

export type CheckedConfig = {
  /** Each with the line where it stands, and what to do. */
  readonly problems: readonly FieldError[]
  /** What was not looked at, and why. */
  readonly remarks: readonly string[]
}

/**
 * Opens what a configuration names, all of it, and changes nothing: whoever sets a server up hears of every mistake at once.
 * What a mistake of the file itself stands in the way of is left out. `now` comes in for the clock and for certificates.
 */
export async function checkConfig({ config, problems, where }: ReadConfig, now: () => Date): Promise<CheckedConfig> {
  const found: FieldError[] = []
  const remarks: string[] = []
  const served = existsSync(config.dataFolder) && isServed(config.dataFolder)
  const isWrong = (...settings: readonly string[]) =>
    problems.some(({ field }) => settings.some(setting => field === setting || field.startsWith(`${setting}.`)))
  const add = (all: readonly FieldError[]) => {
    for (const { field, message, hint } of all)
      found.push({ field, message: placed(field, message, where), ...(hint === undefined ? {} : { hint }) })
  }

  if (!isWrong('data_folder')) add(await thrown('data_folder', async () => checkFolder(config.dataFolder)))
  const { tls } = config.pages
  if (tls && !isWrong('pages', 'public_url')) add(checkPagesCertificate(tls, config.publicUrl, now()))
  if (!served && !isWrong('pages.listen', 'machines.listen'))
    for (const name of ['pages', 'machines'] as const) {
      const { listen } = config[name]
      // What the unit lets the server do, whoever runs this may not: that says nothing of the server.
      if (await mayListen(listen)) add(await thrown(`${name}.listen`, () => canListen(name, listen)))
      else
        remarks.push(
          `${name}.listen: port ${listen.port} was not tried: it wants CAP_NET_BIND_SERVICE, as the unit gives it`,
        )
    }
  for (const [at, settings] of [
    ['keystore', config.keystore],
    ['keystore.standby', config.standbyKeystore],
  ] as const) {
    const others = at === 'keystore' ? problems.filter(({ field }) => !field.startsWith('keystore.standby')) : problems
    if (settings && !others.some(({ field }) => field.startsWith(at)))
      add(await thrown(at, () => checkKeystore(at, settings, config.authority.algorithm)))
  }
  if (!isWrong('database')) add(await checkDatabase(config, now, remarks))
  if (served) {
    const untried = config.database.engine === 'pglite' ? 'its ports and its embedded database' : 'its ports'
    remarks.push(`a server runs on ${config.dataFolder}: ${untried} were not tried`)
  }
  return { problems: [...problems, ...found], remarks }
}

/** A message with where its setting stands, as those of the file itself have it. */
function placed(field: string, message: string, where: ReadConfig['where']): string {
  if (field === 'clock') return message
  // A secret may come from a variable instead of the file that the setting names.
  const direct = field.replace(/_file$/, '')
  const at = where(field).startsWith('not set') && !where(direct).startsWith('not set') ? where(direct) : where(field)
  return message.includes(at) ? message : `${message} (${at})`
}

async function thrown(setting: string, work: () => Promise<unknown>): Promise<FieldError[]> {
  try {
    await work()
    return []
  } catch (error) {
    const { message, hint, fields } = told(error)
    return [
      {
        field: fields[0]?.field ?? setting,
        message: fields[0]?.message ?? message,
        ...(hint === undefined ? {} : { hint }),
      },
    ]
  }
}

/** The folder, or the first above it that is there: the start makes what is missing. */
function checkFolder(folder: string): void {
  if (existsSync(folder)) checkDataFolder(folder)
  let above = folder
  while (!existsSync(above)) above = dirname(above)
  try {
    accessSync(above, constants.W_OK | constants.X_OK)
  } catch {
    throw new KeymanError('unavailable', `${folder}: this user may not write to ${above}`, {
      hint: `make it and give it to the server's user: install -d -m 700 -o USER ${folder}`,
    })
  }
}

/** Whether this user may at all. */
async function mayListen({ host, port }: { host: string; port: number }): Promise<boolean> {
  if (port >= 1024) return true
  const server = createServer()
  const code = await new Promise(resolve => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
    server.listen(port, host, () => server.close(resolve))
  })
  return code !== 'EACCES'
}

async function canListen(name: 'pages' | 'machines', listen: { host: string; port: number }): Promise<void> {
  const server = createServer()
  await listenOn(server, { name, listen })
  await new Promise(resolve => server.close(resolve))
}

async function checkKeystore(
  at: 'keystore' | 'keystore.standby',
  settings: KeystoreSettings,
  algorithm: ServerConfig['authority']['algorithm'],
): Promise<void> {
  // Opening a software keystore makes one where there is none, which is the start's to do.
  if (settings.kind === 'software' && !existsSync(join(settings.folder, 'unlock.json'))) {
    if ('credential' in settings.unlock && !existsSync(settings.unlock.credential))
      throw new KeymanError('unavailable', `${settings.unlock.credential}: there is no such credential`, {
        fields: [{ field: `${at}.credential`, message: `${settings.unlock.credential}: there is no such credential` }],
        hint: 'give it to the unit with LoadCredentialEncrypted=, and run this in the unit',
      })
    return
  }
  const keystore = await openConfigured(at, settings)
  const { algorithms } = keystore.capabilities
  await keystore.close()
  for (const needed of [algorithm, 'ecdsa-p256'] as const) {
    if (algorithms.includes(needed)) continue
    const which = needed === algorithm ? '' : ', which the authority of machines has'
    const message = `the token makes no ${needed} keys${which}; it offers ${algorithms.join(', ') || 'none that KeyMan knows'}`
    throw new KeymanError('unavailable', message, {
      fields: [{ field: needed === algorithm ? 'authority.algorithm' : `${at}.module`, message }],
      hint: 'set authority.algorithm to one that it offers (ed25519, ecdsa-p256), or take another token',
    })
  }
}

async function checkDatabase(
  { database, dataFolder, trust }: ServerConfig,
  now: () => Date,
  remarks: string[],
): Promise<FieldError[]> {
  if (database.engine !== 'postgresql') return []
  const url = database.url.reveal()
  const { problems, clockAhead, isInUse } = await checkPostgres(url, database.migrationUrl?.reveal(), now)
  const found = [...problems]
  // A further server, or one whose data folder is lost: nothing here proves that the database is what it was.
  if (isInUse && !existsSync(join(dataFolder, 'pins', 'log-head.json'))) {
    remarks.push('the database is in use, and this data folder is new: the first start wants --checkpoint FILE')
    if (trust.rootFingerprint === undefined)
      found.push({
        field: 'trust.root_fingerprint',
        message: 'must be set: the database is in use, and this data folder remembers nothing of it',
        hint: 'set it to what keyman trust show names on a machine that is signed in',
      })
  }
  if (clockAhead !== undefined && Math.abs(clockAhead) > Number(MAX_CLOCKS_APART))
    found.push({
      field: 'clock',
      message: `this machine's clock is ${Math.round(Math.abs(clockAhead))} seconds ${clockAhead > 0 ? 'ahead of' : 'behind'} the database's`,
      hint: 'set both by NTP (timedatectl set-ntp true): sessions and certificates end by them',
    })
  return found
}
