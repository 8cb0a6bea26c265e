import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { ERRORS, KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { told } from '#shared/told.ts'
import { goodConfig, isSetting, type ReadConfig, readConfig, type ServerConfig } from './config/index.ts'
import { createLog } from './log.ts'
import { adminLinkCommand } from './operator/admin-link-command.ts'
import { adopt } from './operator/adopt.ts'
import { checkConfig } from './operator/check-config.ts'
import { initCommand, initHelp } from './operator/init-command.ts'
import { listAuthorityKeys } from './operator/list-authority-keys.ts'
import { restoreCommand } from './operator/restore-command.ts'
import { switchCommand } from './operator/switch-command.ts'
import { noneNamed } from './operator/which-config.ts'
import { start } from './start.ts'
import { tellSystemd } from './tell-systemd.ts'

const HELP = `keyman-server: the certificate authority, its pages and its API
usage: keyman-server COMMAND [--config FILE]

  init                  write a first configuration: asks on a terminal; flags are the settings by their
                        names (--public-url, --database-url …); --user USER, for root, owns what it makes
  start [--demo]        run until SIGTERM; --demo adds a host of its own on this machine
        [--checkpoint FILE]  for a new data folder on a database that has records: a checkpoint of
                        its log that you trust (keyman audit checkpoint)
  adopt [--yes]         take over the database of a release whose audit log was not sealed: compares it with its
                        log, shows what is there, and seals it. Stop all servers first
  check-config          check file and variables, open what they name (files, ports, token, database), and say
                        all that is wrong, with its line and what to do; changes nothing
  admin-link PERSON     a link, good once for 15 minutes, with which PERSON makes a new passkey and is
                        an owner: the recovery when nobody can sign in any more (recorded)
        [--new]         for a new owner instead; without PERSON, of any name
  authority list        the authority and log keys as the keystores hold them, not as the database says, to
                        compare with what a trust bundle adds before it is signed; --json for a file
  authority switch-to-standby [--yes]   when the keystore is lost: the standby keys sign from now on, hosts trust
                        them already (recorded); with a server that runs, or without
  restore [--yes]       after a backup of the database was put back, while no server runs: shows what
                        was lost, and with --yes takes its history up anew (docs/server.md)
        [--keep PERSON] who goes on without being confirmed; may stand several times
        [--checkpoint FILE]  the newest checkpoint that anybody has
        [--log FILE]    a newer export of its log (keyman audit export): what was revoked or taken away
                        after the backup is again, and what nothing is known of gets shorter

  --config FILE         TOML; else KEYMAN_CONFIG, else defaults. KEYMAN_* variables win over it

examples:
  keyman-server init --config /etc/keyman/server.toml
  keyman-server check-config --config /etc/keyman/server.toml
  keyman-server start --config /etc/keyman/server.toml
More: docs/install.md, docs/server.md`

async function main(args: string[]): Promise<number> {
  if (args[0] === 'init' && !args.includes('--version')) return firstConfig(args.slice(1))
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      demo: { type: 'boolean' },
      checkpoint: { type: 'string' },
      log: { type: 'string' },
      json: { type: 'boolean' },
      keep: { type: 'string', multiple: true },
      new: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
      yes: { type: 'boolean' },
    },
  })
  const [command, ...rest] = positionals
  if (values.version) {
    process.stdout.write(`keyman-server ${process.env.KEYMAN_VERSION ?? '0.1.0'}\n`)
    return EXIT.done
  }
  if (values.help || command === undefined) {
    process.stdout.write(`${HELP}\n`)
    return values.help ? EXIT.done : EXIT.usage
  }
  const options = {
    env: process.env,
    home: process.env.HOME || homedir(),
    ...(values.config === undefined ? {} : { file: values.config }),
  }
  const config = () => {
    const read = readConfig(options)
    const good = goodConfig(read)
    where = read.where
    return good
  }
  switch (command) {
    case 'start':
      return run(config(), values.demo === true, values.checkpoint)
    case 'adopt':
      return adoptDatabase(config(), values.yes === true)
    case 'check-config':
      return check(readConfig(options))
    case 'admin-link':
      return adminLinkCommand(config(), rest[0], values.new === true)
    case 'authority':
      if (rest[0] === 'list') return authorityList(config(), values.json === true)
      if (rest[0] === 'switch-to-standby') return switchCommand(config(), values.yes === true)
      throw new KeymanError('invalid-input', 'keyman-server authority knows: list, switch-to-standby')
    case 'restore':
      return restoreCommand(config(), values)
    default:
      throw new KeymanError('invalid-input', `there is no command ${JSON.stringify(command)}`, {
        hint: 'keyman-server --help lists them',
      })
  }
}

async function firstConfig(args: string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${initHelp()}\n`)
    return EXIT.done
  }
  const { file, user } = await initCommand(args, process.env)
  const as = user === undefined ? '' : `runuser -u ${user} -- `
  process.stdout.write(`Next:  ${as}keyman-server check-config --config ${file}\n`)
  return EXIT.done
}

async function check(read: ReadConfig): Promise<number> {
  const { problems, remarks } = await checkConfig(read, () => new Date())
  for (const { field, message, hint } of problems) {
    process.stderr.write(`keyman-server: error: ${field}: ${message}\n`)
    if (hint) process.stderr.write(`keyman-server: hint: ${hint}\n`)
  }
  const none = noneNamed(read.config)
  for (const remark of none === undefined ? remarks : [none, ...remarks])
    process.stderr.write(`keyman-server: ${remark}\n`)
  if (problems.length > 0) return EXIT.found
  const { file } = read.config
  process.stdout.write(`The configuration is good: ${file ?? 'defaults and variables, since no file was named'}.\n`)
  return EXIT.done
}

async function run(config: ServerConfig, demo: boolean, checkpointFile: string | undefined): Promise<number> {
  const log = createLog()
  process.on('uncaughtException', error => {
    // Something that nobody expected: a fresh start is safer than going on.
    log.error('the server stops', error)
    process.exit(EXIT.failed)
  })
  // Heard from the first moment on: a SIGHUP that nobody listens to ends the process, and whoever renews the certificate
  // may do so while the server starts.
  let renewed = false
  let reload = (): void => {
    renewed = true
  }
  process.on('SIGHUP', () => reload())
  // Likewise whoever stops it the moment it says that it runs; while it starts it ends as it would by itself.
  const stopping = Promise.withResolvers<string>()
  let isRunning = false
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => {
      if (isRunning) stopping.resolve(name)
      else process.kill(process.pid, name)
    })
  const running = await start({
    config,
    log,
    demo,
    checkpoint: checkpointFile === undefined ? undefined : readFileSync(checkpointFile, 'utf8'),
    say: line => process.stdout.write(`${line}\n`),
  })
  isRunning = true
  tellSystemd(process.env, log)
  reload = () => {
    try {
      running.reload()
      log.info('the certificate of the pages was read anew')
    } catch (error) {
      // Whoever renews writes one file after the other: between the two they do not fit.
      log.error('the old certificate of the pages stays, the new one can not be used; send SIGHUP again', error)
    }
  }
  if (renewed) reload()
  const signal = await stopping.promise
  log.info('stopping', { signal })
  await running.stop()
  return EXIT.done
}

async function adoptDatabase(config: ServerConfig, yes: boolean): Promise<number> {
  const outcome = await adopt(config, async ({ records, facts, unexplained }) => {
    process.stdout.write(`The log of ${records} records agrees with its signed head. In the database are:\n`)
    for (const [kind, ids] of facts) process.stdout.write(`  ${kind}  ${ids.length}\n`)
    for (const id of [...facts].flatMap(([kind, ids]) => (kind === 'person' ? ids : [])))
      process.stdout.write(`  ${id}\n`)
    for (const id of unexplained) process.stdout.write(`  NOT IN THE LOG: ${id}\n`)
    if (unexplained.length > 0)
      throw new KeymanError('conflict', `${unexplained.length} rows are there that no record of the log explains`, {
        hint: 'find out who wrote them, and delete them; then try again',
      })
    if (yes) return true
    if (!process.stdin.isTTY)
      throw new KeymanError('invalid-input', 'nobody can be asked here', { hint: 'look at the list, then give --yes' })
    const lines = createInterface({ input: process.stdin, output: process.stderr })
    const answer = await lines.question('Seal this, and end all sessions? [y/N] ').finally(() => lines.close())
    return /^y(es)?$/i.test(answer.trim())
  })
  process.stdout.write(outcome === 'adopted' ? 'Sealed. Start the server.\n' : 'Nothing was changed.\n')
  return EXIT.done
}

async function authorityList(config: ServerConfig, json: boolean): Promise<number> {
  const { keys, away } = await listAuthorityKeys(config)
  const lines = keys.map(({ label, purpose, state, fingerprint, keystore }) =>
    [label.padEnd(12), purpose.padEnd(9), state.padEnd(12), fingerprint, keystore].join(' '),
  )
  process.stdout.write(json ? `${JSON.stringify({ keys }, undefined, 2)}\n` : lines.map(line => `${line}\n`).join(''))
  for (const { message } of away) process.stderr.write(`keyman-server: error: ${message}\n`)
  return away.length === 0 ? EXIT.done : EXIT.failed
}

/** Where a setting stands, of the configuration in force, once it has been read: what is found later names its line. */
let where: ReadConfig['where'] | undefined

const code = await main(process.argv.slice(2)).catch((error: unknown) => {
  const ours = told(error)
  const [first] = ours.fields
  const place = first && where && isSetting(first.field) ? ` (${first.field}: ${where(first.field)})` : ''
  process.stderr.write(`keyman-server: error: ${ours.message}${place}\n`)
  for (const { field, message } of ours.fields.slice(1))
    process.stderr.write(`keyman-server: error: ${field}: ${message}\n`)
  if (ours.hint) process.stderr.write(`keyman-server: hint: ${ours.hint}\n`)
  if (process.env.KEYMAN_DEBUG === '1') console.error(error)
  return ERRORS[ours.code].exit
})
// What is left (an idle connection of the driver, say) must not keep a stopped server alive.
process.exit(code)
