import { existsSync } from 'node:fs'
import { parseDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import {
  type Context,
  currentContext,
  isWorkload,
  listContexts,
  live,
  principalOf,
  readSession,
  type Session,
  sessionFiles,
} from '../context/context.ts'
import { type Folders, folders, workloadsFolder } from '../context/folders.ts'
import { overLines, sessionLines } from '../session/in-words.ts'
import { keyProblem } from '../session/session-key.ts'
import { signedInJson } from '../session/signed-in-json.ts'
import { sshFiles } from '../ssh/files.ts'
import { type Command, command, take, usage } from '../terminal/command.ts'
import { bold, print, printJson, remark, shown } from '../terminal/terminal.ts'
import { until } from '../terminal/times.ts'

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
It asks the ssh-agent whether it has the key, and no server; what other commands have heard from it counts.
More: docs/login.md`,
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
      const files = ownFiles(places)
      if (values.json) printJson({ files })
      else for (const path of files) print(path)
      return EXIT.done
    }
    const alive = live(session, now)
    if (values.check) {
      const problem = alive && context && (await keyProblem(places, context.organisation, alive))
      const { code, says } = problem
        ? { code: EXIT.found, says: `${problem.says}; ${problem.next}` }
        : check(alive, now, values.for, session)
      if (values.json) printJson({ good: code === EXIT.done, ...(says === undefined ? {} : { says }) })
      if (says !== undefined) remark(shown(says))
      return code
    }
    if (values.for !== undefined) throw usage('--for belongs to --check')
    if (values.json) {
      printJson(context && alive ? signedInJson(context, alive) : { signedIn: false })
      return alive ? EXIT.done : EXIT.notSignedIn
    }
    if (!context || !alive) {
      for (const line of session ? overLines(session, now) : ['You are not signed in.', 'Next: keyman login'])
        remark(line)
      return EXIT.notSignedIn
    }
    const isOwner = !isWorkload(alive) && alive.owner
    print(`${bold(shown(principalOf(alive)))} at ${context.organisation}${isOwner ? ', owner' : ''}`)
    for (const line of sessionLines(alive, now)) print(line)
    if (alive.ssh) {
      print(
        `  certificate  ends ${until(new Date(alive.ssh.endsAt), now, alive.zone)}${alive.ssh.limitedBy ? `  (${shown(alive.ssh.limitedBy)})` : ''}`,
      )
      print(`               serial ${alive.ssh.serial}, key ID ${shown(alive.ssh.keyId)}`)
    } else print(`  certificate  none: ${shown(alive.denial ?? 'no grant')}`)
    for (const line of await keyLines(places, context, alive, now)) print(line)
    if (context.hosts.length > 0)
      print(`  hosts        ${shown(context.hosts.map(host => `${host.name} (${host.logins.join(', ')})`).join('; '))}`)
    return EXIT.done
  },
})

async function keyLines(places: Folders, { organisation }: Context, alive: Session, now: Date): Promise<string[]> {
  const problem = await keyProblem(places, organisation, alive)
  if (problem !== undefined) return [`  key          ${shown(problem.says)}: ${problem.next}`]
  if (alive.keyIn === 'file')
    return [
      `  key          ${sessionFiles(places, organisation).key}`,
      ...(!isWorkload(alive) && alive.mayBeIn !== undefined
        ? [`               the ssh-agent at ${shown(alive.mayBeIn)} may have it too: keyman logout asks for it back`]
        : []),
    ]
  const certificateUntil = alive.agent?.certificateUntil
  return [
    '  key          in the ssh-agent, which forgets it by itself',
    ...(certificateUntil === undefined
      ? []
      : [
          `               with its certificate, for clients that ask the agent, ${until(new Date(certificateUntil), now, alive.zone)}`,
        ]),
  ]
}

export const commands: Record<string, Command> = { '': status }

/** `says`: where it is not as it should be, one line. */
function check(
  session: Session | undefined,
  now: Date,
  needed: string | undefined,
  held: Session | undefined,
): { code: number; says?: string } {
  const seconds = needed === undefined ? 0 : parseDuration(needed, '--for')
  if (!session)
    return {
      code: EXIT.notSignedIn,
      says: held && isWorkload(held) ? overLines(held, now).join(' ') : 'not signed in',
    }
  const ends = session.ssh && new Date(session.ssh.endsAt)
  if (!ends) return { code: EXIT.found, says: `no certificate: ${session.denial ?? 'no grant gives one'}` }
  if (ends > now && ends.getTime() - now.getTime() >= seconds * 1000) return { code: EXIT.done }
  return { code: EXIT.found, says: `the certificate ${ends > now ? 'ends' : 'has'} ${until(ends, now)}` }
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
      ssh.refresh(name),
      ssh.hosts(name),
      ssh.knownHosts(name),
      `${places.config}/contexts/${name}.json`,
      ...['login.lock', 'sign-in.lock', 'write.lock', 'context.lock', 'refused', 'page', 'new-host'].flatMap(end =>
        [places.runtime, workloadsFolder(places)].map(home => `${home}/${name}.${end}`),
      ),
    ]
  })
  const own = [
    ...all,
    ssh.include,
    ssh.match,
    ssh.plain,
    ssh.aliases,
    `${places.config}/current-context`,
    `${places.config}/ssh-config-offered`,
  ]
  return own.filter(path => existsSync(path))
}
