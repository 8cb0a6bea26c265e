import { ERRORS, KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { nearest } from '#shared/nearest.ts'
import { told } from '#shared/told.ts'
import { GROUPS } from './groups.ts'
import { type Command, parse, usage } from './terminal/command.ts'
import { print, printError } from './terminal/terminal.ts'

const HELP = `keyman: SSH certificates instead of keys

Every day
  login               sign in with a passkey; then plain ssh works
  status              who am I, with which certificate, until when
  why HOST            as whom I get in to a host, and by which grant
  logout              end the session, remove its keys
  ssh config          add or remove the one line in ~/.ssh/config
  ssh alias           a short name of your own for a host

Administration (each change wants a touch of the passkey)
  person              list, show, invite, disable, enable, change, reset
  invitation          list, remove
  team                list, show, add, remove
  grant               list, show, add, change, remove: logins and roles
  role                list, show, add, change, remove: what each role may do; roles of your own
  project             list, show, add, remove: projects and environments
  host                list, show, add, change, remove
  login list          who logged in on hosts
  workload            list, show, add, change, token, end, remove, join
  admin --for 10m     one touch for a series of changes
  revoke              end a person's, key's or certificate's access now
  audit               list, show, verify, checkpoint, export
  trust               show, sign, move-root
  authority           list: the keys that sign

  session             list, end
  passkey             list, add, rename, remove
  doctor              check this machine
  config show         every setting and where it comes from
  completion SHELL    for bash, zsh or fish

keyman COMMAND --help says more. HTTPS_PROXY and NO_PROXY say by which proxy
servers are reached. Documentation: docs/ beside this program.`

async function main(args: readonly string[]): Promise<number> {
  const [word, ...rest] = args
  if (word === undefined || word === '--help' || word === '-h' || word === 'help') {
    if (word === 'help' && rest[0] !== undefined) return main([...rest, '--help'])
    print(HELP)
    return EXIT.done
  }
  if (word === '--version') {
    print(`keyman ${process.env.KEYMAN_VERSION ?? '0.1.0'}`)
    return EXIT.done
  }
  const load = Object.hasOwn(GROUPS, word) ? GROUPS[word] : undefined
  if (!load) {
    if (word.startsWith('-'))
      throw usage(`there is no flag ${word} here`, 'flags stand after the command: keyman status --json')
    const near = word === 'version' ? '--version' : nearest(word, Object.keys(GROUPS))
    throw usage(
      `there is no command ${JSON.stringify(word)}`,
      near ? `did you mean keyman ${near}?` : 'keyman --help lists them',
    )
  }
  const { commands } = await load()
  const { name, command, args: own } = choose(word, commands, rest)
  try {
    const { values, positionals } = parse(command, own)
    if (values.help) {
      print(command.help)
      return EXIT.done
    }
    if (values.context !== undefined) process.env.KEYMAN_CONTEXT = values.context
    return await command.run(values, positionals)
  } catch (error) {
    if (!(error instanceof KeymanError)) throw error
    return failed(error, name, Object.hasOwn(commands, 'list') ? `keyman ${word} list` : undefined)
  }
}

/** The next word chooses; without one of the group's, a group that has a command of its own name does that. */
function choose(word: string, commands: Readonly<Record<string, Command>>, rest: readonly string[]) {
  const verbs = Object.keys(commands)
  const [verb = '', ...args] = rest
  const chosen = verb !== '' && Object.hasOwn(commands, verb) ? commands[verb] : undefined
  if (chosen) return { name: `${word} ${verb}`, command: chosen, args }
  const own = commands['']
  if (own) return { name: word, command: own, args: rest }
  if (verb === '--help' || verb === '-h' || verb === '') {
    const verbLines = verbs.map(name => commands[name]?.help.split('\n')[0] ?? '')
    const text = [
      `usage: keyman ${word} ${verbs.join('|')} …`,
      '',
      ...verbLines,
      '',
      `keyman ${word} ${verbs[0]} --help says more.`,
    ].join('\n')
    if (rest.length === 0) throw usage(`keyman ${word} needs one of: ${verbs.join(', ')}`, `keyman ${word} --help`)
    return { name: word, command: { help: text, options: {}, run: async () => EXIT.done }, args: ['--help'] }
  }
  const near = nearest(verb, verbs)
  throw usage(
    `keyman ${word} has no ${JSON.stringify(verb)}`,
    near ? `did you mean keyman ${word} ${near}?` : `it has: ${verbs.join(', ')}`,
  )
}

async function failed(error: KeymanError, name?: string, list?: string): Promise<number> {
  const unsaid = error.fields.filter(({ message }) => !error.message.includes(message))
  const fields = unsaid.map(({ field, message }) => `${field}: ${message}`).join('; ')
  const hints = [await whatStillHolds(error), error.hint ?? nextStep(error, name, list)]
  printError(fields ? `${error.message}: ${fields}` : error.message, hints.filter(Boolean).join('; '))
  if (process.env.KEYMAN_DEBUG === '1') console.error(error)
  return ERRORS[error.code].exit
}

/** Pure: what to do next where whoever refused has not said it. `name`: the command; `list`: the one that lists what there is. */
function nextStep({ code, retryAfter }: KeymanError, name = 'COMMAND', list?: string): string {
  switch (code) {
    case 'invalid-input':
    case 'too-large':
      return `keyman ${name} --help`
    case 'not-signed-in':
      return 'run keyman login'
    case 'denied':
      return 'ask an administrator; keyman status says as whom you are signed in'
    case 'assertion-required':
      return 'run it again where a passkey can be touched'
    case 'not-found':
      return list === undefined ? `keyman ${name} --help` : `${list} shows what there is`
    case 'conflict':
      return list === undefined ? 'see what holds now, and run it again' : `${list} shows what holds now`
    case 'expired':
      return 'run it again'
    case 'too-many-requests':
    case 'unavailable':
      return `run it again in ${retryAfter ?? 10} s; keyman doctor looks what is wrong`
    case 'method-not-allowed':
      return 'keyman --version: is it as new as the server?'
    case 'internal':
      return 'KEYMAN_DEBUG=1 shows where; keyman doctor looks what is wrong'
  }
}

/** Where the server is away, what matters is how long one can do without it. */
async function whatStillHolds(error: KeymanError): Promise<string | undefined> {
  if (error.code !== 'unavailable') return undefined
  try {
    const { certificateGoodUntil } = await import('./session/certificate-good-until.ts')
    return certificateGoodUntil()
  } catch {
    return undefined
  }
}

process.on('SIGINT', () => process.exit(EXIT.interrupted))
// A reader that goes away (`keyman … | head`) is no failure.
process.stdout.on('error', () => process.exit(EXIT.done))
process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => failed(told(error)))
