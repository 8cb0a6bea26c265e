import { existsSync } from 'node:fs'
import { parseDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { type Command, command, take, usage } from '../command.ts'
import { currentContext, listContexts, readSession, type Session, sessionFiles } from '../context.ts'
import { type Folders, folders } from '../folders.ts'
import { signedInJson } from '../signed-in-json.ts'
import { sshFiles } from '../ssh-files.ts'
import { bold, print, printJson, remark, shown } from '../terminal.ts'
import { until } from '../times.ts'

const status = command({
  help: `keyman status: who am I, with which certificate, until when
usage: keyman status [flags]

  --check        answer by exit code: 0 good, 3 not signed in, 9 no certificate or it ends too soon
  --for 2h       with --check: how long the certificate must still be good
  --files        list every file that keyman keeps here
  --json         as JSON

examples:
  keyman status
  keyman status --check --for 2h || keyman login
It reads files alone and never asks the server. More: docs/login.md`,
  options: {
    check: { type: 'boolean' },
    for: { type: 'string' },
    files: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    const context = currentContext(places)
    const session = context && readSession(places, context.organisation)
    const now = new Date()
    if (values.files) {
      for (const path of ownFiles(places)) print(path)
      return EXIT.done
    }
    const alive = context !== undefined && session !== undefined && Date.parse(session.endsAt) > now.getTime()
    if (values.check) return check(alive ? session : undefined, now, values.for)
    if (values.for !== undefined) throw usage('--for belongs to --check')
    if (values.json) {
      printJson(alive ? signedInJson(context, session) : { signedIn: false })
      return alive ? EXIT.done : EXIT.notSignedIn
    }
    if (!context || !session || !alive) {
      remark(
        session
          ? `Your session ended (${until(new Date(session.endsAt), now, session.zone)}).`
          : 'You are not signed in.',
      )
      remark('Next: keyman login')
      return EXIT.notSignedIn
    }
    print(`${bold(shown(session.person))} at ${context.organisation}${session.administrator ? ', administrator' : ''}`)
    print(`  session      ends ${until(new Date(session.endsAt), now, session.zone)}`)
    if (session.ssh) {
      print(
        `  certificate  ends ${until(new Date(session.ssh.endsAt), now, session.zone)}${session.ssh.limitedBy ? `  (${shown(session.ssh.limitedBy)})` : ''}`,
      )
      print(`               serial ${session.ssh.serial}, key ID ${shown(session.ssh.keyId)}`)
    } else print(`  certificate  none: ${shown(session.denial ?? 'no grant')}`)
    print(
      `  key          ${session.keyIn === 'agent' ? 'in the ssh-agent, which forgets it by itself' : sessionFiles(places, context.organisation).key}`,
    )
    if (context.hosts.length > 0)
      print(`  hosts        ${shown(context.hosts.map(host => `${host.name} (${host.logins.join(', ')})`).join('; '))}`)
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { '': status }

/** By exit code; where it is not as it should be, one line on stderr says why. */
function check(session: Session | undefined, now: Date, needed: string | undefined): number {
  const seconds = needed === undefined ? 0 : parseDuration(needed, '--for')
  const ends = session?.ssh && new Date(session.ssh.endsAt)
  if (ends && ends.getTime() > now.getTime() && ends.getTime() - now.getTime() >= seconds * 1000) return EXIT.done
  if (!session) remark('not signed in')
  else if (ends) remark(`the certificate ${ends > now ? 'ends' : 'has'} ${until(ends, now)}`)
  else remark(`no certificate: ${shown(session.denial ?? 'no grant gives one')}`)
  return session ? EXIT.found : EXIT.notSignedIn
}

/** Everything that KeyMan's CLI leaves in a home, as far as it is there. */
function ownFiles(places: Folders): string[] {
  const ssh = sshFiles(places)
  const all = listContexts(places).flatMap(name => {
    const { folder, ...files } = sessionFiles(places, name)
    return [
      folder,
      ...Object.values(files),
      ssh.check(name),
      ssh.knownHosts(name),
      `${places.config}/contexts/${name}.json`,
      ...['login.lock', 'sign-in.lock', 'write.lock', 'context.lock', 'refused', 'page'].map(
        end => `${places.runtime}/${name}.${end}`,
      ),
    ]
  })
  const own = [...all, ssh.include, `${places.config}/current-context`, `${places.config}/ssh-config-offered`]
  return own.filter(path => existsSync(path))
}
