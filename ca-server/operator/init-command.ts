import { homedir } from 'node:os'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { parseArgs } from 'node:util'
import { KeymanError } from '#shared/errors.ts'
import { readSecret, TEMPLATE_EXAMPLES } from '../config/index.ts'
import { type Ask, flagOf, INIT_SETTINGS, init } from './init.ts'

export function initHelp(): string {
  const flags = INIT_SETTINGS.map(path => {
    const example = (TEMPLATE_EXAMPLES.get(path) ?? '').replaceAll(/[[\]"]/g, '')
    return `  ${flagOf(path)} ${example}`
  })
  return `keyman-server init: write a first configuration, and the files with secrets that it names
usage: keyman-server init [--config FILE] [--user USER] [settings]

  --config FILE   where to; by itself /etc/keyman/server.toml for root
  --user USER     for root: the user that the server runs as, who owns what is made

Settings, by example; lists with commas between. On a terminal it asks for those that are needed and were not given. Secrets
are typed, or lie in files that are named:
${flags.join('\n')}

What each means: docs/server.md`
}

/** `keyman-server init`: what was made and what to do next; gives the file. */
export async function initCommand(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ file: string; user: string | undefined }> {
  const flags = new Map(INIT_SETTINGS.map(path => [flagOf(path).slice(2), path]))
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...Object.fromEntries([...flags.keys()].map(flag => [flag, { type: 'string' as const }])),
      config: { type: 'string' },
      user: { type: 'string' },
    },
  })
  const text = (name: string): string | undefined => {
    const value: unknown = Reflect.get(values, name)
    return typeof value === 'string' ? value : undefined
  }
  const given = new Map<string, string>()
  for (const [flag, path] of flags) {
    const value = text(flag)
    if (value !== undefined) given.set(path, value)
  }
  const isRoot = process.geteuid?.() === 0
  const user = text('user')
  if (user !== undefined && !isRoot)
    throw new KeymanError('invalid-input', '--user is for root: files of your own are yours', {
      hint: 'run it as root, or leave --user out',
    })
  const canAsk = process.stdin.isTTY === true && process.stderr.isTTY === true
  const { file, made, missing } = await init({
    file: text('config') ?? (env.KEYMAN_CONFIG || undefined),
    given,
    user,
    isRoot,
    ask: canAsk ? terminal() : undefined,
    home: env.HOME || homedir(),
    readSecret,
  })
  process.stdout.write(`${made.map(path => `made ${path}\n`).join('')}`)
  for (const path of missing) process.stderr.write(`keyman-server: ${path} is named there, and is not there yet\n`)
  return { file, user }
}

function terminal(): Ask {
  /** One question, its answer typed in sight or not. Ctrl-C ends the program: nothing has been written yet. */
  const question = (text: string, shown: boolean): Promise<string> =>
    new Promise(resolve => {
      let silent = false
      const output = new Writable({
        write(chunk: Uint8Array, _, done) {
          if (!silent) process.stderr.write(chunk)
          done()
        },
      })
      const lines = createInterface({ input: process.stdin, output, terminal: true })
      lines.once('SIGINT', () => process.exit(130))
      // Ctrl-D.
      lines.once('close', () => resolve(''))
      lines.question(text, answer => {
        if (!shown) process.stderr.write('\n')
        resolve(answer)
        lines.close()
      })
      silent = !shown
    })
  return {
    async line(text, otherwise, check) {
      for (;;) {
        const answer = (await question(`${text}${otherwise === undefined ? '' : ` [${otherwise}]`}: `, true)).trim()
        const meant = answer === '' ? (otherwise ?? '') : answer
        const problem = check(meant)
        if (problem === undefined) return meant
        process.stderr.write(`  ${problem}\n`)
      }
    },
    secret: text => question(`${text}, not shown: `, false),
  }
}
