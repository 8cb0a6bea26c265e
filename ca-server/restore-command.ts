import { readFileSync } from 'node:fs'
import { EXIT } from '#shared/exit-codes.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import type { ServerConfig } from './config.ts'
import { restore, showLost } from './restore.ts'

/** `keyman-server restore`: says what was lost, and takes the history up anew where it was told to. */
export async function restoreCommand(
  config: ServerConfig,
  values: { readonly checkpoint?: string; readonly keep?: readonly string[]; readonly yes?: boolean },
): Promise<number> {
  const options = {
    config,
    checkpoint: values.checkpoint === undefined ? undefined : readFileSync(values.checkpoint, 'utf8'),
    keep: (values.keep ?? []).map(name => parsePersonIdentity(name, 'keep')),
  }
  const say = (line: string) => process.stdout.write(`${line}\n`)
  if (values.yes !== true) {
    const lost = await showLost(options)
    if (!lost) {
      say('The history of this database was taken up anew already, and this server does not remember that.')
      say('Nothing was changed. To remember it: keyman-server restore --yes')
      return EXIT.found
    }
    const { held, size, by } = lost
    say(
      size > held
        ? `The database holds ${held} records of the audit log; by ${by} there were ${size}: records ${held} to ${size - 1n} are lost.`
        : `The database holds ${held} records of the audit log; by ${by} they are not those that there were: what came in their place is kept, what was there is lost.`,
    )
    say(UNKNOWN)
    say('Nothing was changed. To go on: keyman-server restore --yes [--keep PERSON]')
    return EXIT.found
  }
  const { lost, incarnation, suspended, checkpointFile } = await restore(options)
  if (!lost) {
    say(`The history ${incarnation} had been begun before; this server remembers it now. Next: keyman-server start`)
    return EXIT.done
  }
  say(`Restored: the history ${incarnation} goes on from record ${lost.held}. It is recorded in the audit log.`)
  say('All sessions, invitations and join tokens have ended; user certificates from before are revoked.')
  if (suspended.length > 0) {
    say('These may have been disabled meanwhile, and can not sign in until an administrator has confirmed them:')
    for (const identity of suspended) say(`  ${identity}`)
    say(
      '  keyman person enable PERSON   confirms one. No administrator among those kept? keyman-server admin-link PERSON',
    )
  }
  say('Next: keyman-server start')
  say(`  other servers of this database: keyman-server start --checkpoint FILE, with a copy of ${checkpointFile}`)
  return EXIT.done
}

const UNKNOWN = `What happened after the backup nobody knows any more: persons disabled or added, passkeys removed or added, teams and
grants changed, hosts added or removed, keys and certificates revoked. So all sessions, invitations and join tokens will end,
all user certificates from before be revoked, and everybody but those of --keep be disabled until an administrator confirms
them. Grants, passkeys and hosts come back as they were: look at them before you confirm anybody.`
