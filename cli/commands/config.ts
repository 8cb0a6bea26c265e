import { EXIT } from '#shared/exit-codes.ts'
import { currentContext } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { type Command, command, take } from '../terminal/command.ts'
import { print, printJson, table } from '../terminal/terminal.ts'
import { COMMON_VARIABLES, LOGIN_VARIABLES, OTHER_VARIABLES } from '../terminal/variables.ts'

type Row = readonly [setting: string, value: string, from: string]

const show = command({
  help: `keyman config show: every setting and where its value comes from
usage: keyman config show [--json]

A flag wins over its variable, a variable over what is kept here. More: docs/login.md`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const rows = settings(process.env)
    if (values.json) printJson(Object.fromEntries(rows.map(([name, value, from]) => [name, { value, from }])))
    else print(table(['SETTING', 'VALUE', 'FROM'], rows))
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { show }

function settings(env: NodeJS.ProcessEnv): Row[] {
  const places = folders()
  const context = currentContext(places)
  const pinned = (value: string | undefined): readonly [string, string] =>
    value === undefined ? ['none', 'nothing is pinned yet'] : [value, 'the pinned trust bundle']
  const xdg = (path: string, name: string): readonly [string, string] => [
    path,
    env[name] && path.startsWith(env[name]) ? name : 'default',
  ]
  const variable = (name: string): Row => {
    if (env[name]) return [name, env[name], 'the environment']
    if (name === 'KEYMAN_BROWSER')
      return env.BROWSER ? [name, env.BROWSER, 'BROWSER'] : [name, "the desktop's", 'default']
    return [name, name === 'KEYMAN_FOR' ? '8h' : '-', 'default']
  }
  const names = [...Object.values(COMMON_VARIABLES), ...Object.values(LOGIN_VARIABLES), ...OTHER_VARIABLES]
  return [
    ['context', context?.organisation ?? 'none', env.KEYMAN_CONTEXT ? 'KEYMAN_CONTEXT or --context' : 'the last login'],
    ['server', context?.machinesUrl ?? 'none', 'where it was reached last'],
    ['pages', ...pinned(context?.publicUrl)],
    ['root of trust', ...pinned(context?.rootFingerprint)],
    ['host names', ...pinned(context?.hostSuffixes.map(suffix => `*.${suffix}`).join(', '))],
    ...names.filter(name => name !== 'KEYMAN_CONTEXT').map(variable),
    ['configuration folder', ...xdg(places.config, 'XDG_CONFIG_HOME')],
    ['state folder', ...xdg(places.state, 'XDG_STATE_HOME')],
    ['runtime folder', ...xdg(places.runtime, 'XDG_RUNTIME_DIR')],
  ]
}
