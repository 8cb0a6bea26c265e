#!/usr/bin/env node
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ERRORS, KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { shown } from '#shared/text.ts'
import { told } from '#shared/told.ts'
import { HELP } from './commands/help.ts'
import { readToken } from './commands/read-token.ts'
import { createLog } from './log.ts'
import { defaultStateFolder, describeMachine, hasUnit } from './machine.ts'
import { OPTIONS } from './options.ts'
import { AGENT_VERSION } from './version.ts'

/** The program `keyman-agent`. */
const log = createLog(
  line => process.stderr.write(line),
  () => new Date(),
)
const say = (line: string): void => void process.stdout.write(`${shown(line)}\n`)
const usage = (message: string): KeymanError =>
  new KeymanError('invalid-input', message, { hint: 'keyman-agent --help' })

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.version) say(AGENT_VERSION)
  if (values.help || (positionals.length === 0 && !values.version)) process.stdout.write(HELP)
  const [command, ...rest] = positionals
  if (values.help || values.version || command === undefined)
    return values.help || values.version ? EXIT.done : EXIT.usage
  const stateFolder = resolve(values['state-folder'] ?? defaultStateFolder(process.env))
  if (command !== 'join' && rest.length > 0) throw usage(`'${rest[0]}' is one word too many`)
  switch (command) {
    case 'join': {
      const tokenFile = values['token-file']
      if (tokenFile === undefined) throw usage('join needs --token-file FILE, or - for standard input')
      const { joinHost } = await import('./commands/join.ts')
      const machine = describeMachine(values)
      const token = await readToken(tokenFile)
      const joined = await joinHost({ token, url: rest[0], stateFolder, machine, again: values.again ?? false }, log)
      if (!joined.inForce) {
        throw new KeymanError('unavailable', `joined as ${joined.host}, but nothing is in force yet: ${joined.why}`, {
          hint: 'keyman-agent doctor says more; keyman-agent run goes on trying',
        })
      }
      say(`This host is ${joined.host} of ${joined.organisation}; its access files are in force.`)
      say(
        hasUnit(stateFolder)
          ? 'Next: systemctl enable --now keyman-agent'
          : 'Next: keep keyman-agent run going (as a service).',
      )
      return EXIT.done
    }
    case 'run': {
      const { runAgent } = await import('./commands/run.ts')
      const stop = new AbortController()
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort())
      await runAgent(stateFolder, log, stop.signal)
      return EXIT.done
    }
    case 'doctor': {
      const { loadAgent } = await import('./commands/run.ts')
      const { doctor } = await import('./commands/doctor.ts')
      const checks = await doctor(await loadAgent(stateFolder, log))
      if (values.json) process.stdout.write(`${JSON.stringify({ checks }, undefined, 2)}\n`)
      else
        for (const { name, ok, note, message } of checks)
          say(`${note ? 'note ' : ok ? 'ok   ' : 'found'}  ${name}: ${message}`)
      return checks.every(({ ok }) => ok) ? EXIT.done : EXIT.found
    }
    case 'leave': {
      const { leave } = await import('./commands/leave.ts')
      await leave(stateFolder, log)
      say('KeyMan has left this host. On your own machine: keyman host remove NAME')
      return EXIT.done
    }
    default:
      throw usage(`'${command}' is no command of keyman-agent`)
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw usage(error instanceof Error ? (error.message.split('. ')[0] ?? '') : 'wrong usage')
  }
}

main(process.argv.slice(2)).then(
  code => process.exit(code),
  (error: unknown) => {
    const { message, hint, code } = told(error)
    process.stderr.write(`keyman-agent: error: ${shown(message)}\n`)
    if (hint !== undefined) process.stderr.write(`keyman-agent: hint: ${shown(hint)}\n`)
    if (process.env.KEYMAN_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
    process.exit(ERRORS[code].exit)
  },
)
