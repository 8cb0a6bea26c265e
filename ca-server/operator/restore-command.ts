import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Lost, NewerLog } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import type { ServerConfig } from '../config/index.ts'
import { restore, showLost } from './restore.ts'
import { howToStart, nameConfig, withConfig } from './which-config.ts'

/** `keyman-server restore`: says what was lost, and takes the history up anew where it was told to. */
export async function restoreCommand(
  config: ServerConfig,
  values: {
    readonly checkpoint?: string
    readonly log?: string
    readonly keep?: readonly string[]
    readonly yes?: boolean
  },
): Promise<number> {
  // Of defaults, where something else was meant: there is no database in it to say anything of.
  if (config.file === undefined && !existsSync(config.dataFolder))
    throw new KeymanError('not-found', `there is no data folder ${config.dataFolder}`, { hint: nameConfig() })
  const { log } = values
  const options = {
    config,
    ...(log === undefined ? {} : { exported: () => linesOf(log) }),
    checkpoint: values.checkpoint === undefined ? undefined : readFileSync(values.checkpoint, 'utf8'),
    keep: (values.keep ?? []).map(name => parsePersonIdentity(name, 'keep')),
    hearAway: (message: string) => void process.stderr.write(`keyman-server: ${message}\n`),
  }
  const say = (line: string) => process.stdout.write(`${line}\n`)
  if (values.yes !== true) {
    const lost = await showLost(options)
    if (!lost) {
      say('The history of this database was taken up anew already, and this server does not remember that.')
      say(`Nothing was changed. To remember it: ${withConfig('restore', config)} --yes`)
      return EXIT.found
    }
    const { held, size, by, newer } = lost
    say(
      size > held
        ? `The database holds ${held} records of the audit log; by ${by} there were ${size}: records ${held} to ${size - 1n} are lost.`
        : `The database holds ${held} records of the audit log; by ${by} they are not those that there were: what came in their place is kept, what was there is lost.`,
    )
    if (newer) sayKnown(say, lost, newer)
    if (!lost.isComplete) say(UNKNOWN)
    say(
      `Nothing was changed. To go on: ${withConfig('restore', config)} --yes [--keep PERSON]${newer ? ' --log FILE' : ''}`,
    )
    return EXIT.found
  }
  const { lost, incarnation, suspended, taken, bare, places, undone, checkpointFile } = await restore(options)
  if (!lost) {
    say(`The history ${incarnation} had been begun before; this server remembers it now. Next: ${howToStart(config)}`)
    return EXIT.done
  }
  say(`Restored: the history ${incarnation} goes on from record ${lost.held}. It is recorded in the audit log.`)
  say('All sessions, invitations and join tokens have ended; user certificates from before are revoked.')
  if (taken.length > 0) {
    say('Taken away after the backup, by the export of the log, and now again:')
    for (const id of taken) say(`  ${id}`)
  }
  if (bare.length > 0) {
    say('Changed after the backup, and back without labels, project and further names: give them these again')
    for (const name of bare) say(`  ${name}`)
  }
  if (places.length > 0) say(`Removed after the backup, and back: ${places.join(', ')}: keyman project remove`)
  if (undone.length > 0) {
    say(
      `The standby keys were made the ones that sign after the backup (${undone.map(({ label }) => label).join(', ')}), and those of before sign again.`,
    )
    say('  Is their keystore lost, or not to be trusted? Before the start: keyman-server authority switch-to-standby')
  }
  if (lost.newer) sayGiven(say, lost.newer, taken)
  if (suspended.length > 0) {
    say(
      lost.isComplete
        ? 'These were disabled after the backup, and are again:'
        : 'These may have been disabled meanwhile, and can not sign in until an administrator has confirmed them:',
    )
    for (const identity of suspended) say(`  ${identity}`)
    say(
      `  keyman person enable PERSON   confirms one. No owner among those kept? ${withConfig('admin-link PERSON', config)}`,
    )
  }
  say(`Next: ${howToStart(config)}`)
  say(`  other servers of this database: keyman-server start --checkpoint FILE, with a copy of ${checkpointFile}`)
  return EXIT.done
}

const GIVEN = ['person:', 'passkey:', 'grant:', 'role:', 'member:', 'host:', 'place:', 'signer:']

/** What can't be done again from a log: it is to be given again by whoever may. */
function sayGiven(say: (line: string) => void, newer: NewerLog, taken: readonly string[]): void {
  const given = [...newer.changed].filter(
    ([id]) => GIVEN.some(kind => id.startsWith(kind)) && newer.facts.has(id) && !taken.includes(id),
  )
  if (given.length === 0) return
  say('Given or changed after the backup, by the export of the log, and not done again: do so where it should be')
  for (const [id, { index, details }] of given) say(`  ${id}  record ${index}${details && ` ${details.slice(0, 200)}`}`)
}

function sayKnown(say: (line: string) => void, { held, size, isComplete }: Lost, newer: NewerLog): void {
  say(
    `The export of the log knows records ${held} to ${newer.size - 1n}: what they took away or revoked will be taken away or revoked again. A grant or an own role that they changed will be gone, with the grants of that role, and a host that they changed without labels, project and further names, until somebody gives them again.`,
  )
  if (newer.size < size) say(`Of records ${newer.size} to ${size - 1n} nothing is known.`)
  else if (!isComplete)
    say(
      `Whether anything happened after record ${newer.size - 1n} nobody says: this server does not remember the log just as far. Give the newest checkpoint that anybody has: --checkpoint FILE.`,
    )
  else
    say(
      'Nothing else happened, as far as anybody remembers: only who was disabled by then will be. All sessions, invitations and join tokens will end.',
    )
  sayGiven(say, newer, [])
}

/** Opened when the first line is asked for: what is read before that is lost. */
async function* linesOf(file: string): AsyncGenerator<string> {
  const input = createReadStream(file, 'utf8')
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  } finally {
    input.destroy()
  }
}

const UNKNOWN = `What happened after the backup nobody knows any more: persons disabled or added, passkeys removed or added, teams and
grants changed, hosts added or removed, keys and certificates revoked. So all sessions, invitations and join tokens will end,
all user certificates from before be revoked, and everybody but those of --keep be disabled until an administrator confirms
them. Grants, passkeys and hosts come back as they were: look at them before you confirm anybody.`
