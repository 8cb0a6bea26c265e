import { EXIT } from '#shared/exit-codes.ts'
import { type Command, command, take } from '../command.ts'
import { currentContext } from '../context.ts'
import { folders } from '../folders.ts'
import { print, printJson, table } from '../terminal.ts'

const show = command({
  help: `keyman config show: every setting and where its value comes from
usage: keyman config show [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    const { env } = process
    const context = currentContext(places)
    const rows: [string, string, string][] = [
      ['context', context?.organisation ?? 'none', env.KEYMAN_CONTEXT ? 'KEYMAN_CONTEXT' : 'the last login'],
      ['server', context?.machinesUrl ?? 'none', 'the pinned trust bundle'],
      ['pages', context?.publicUrl ?? 'none', 'the pinned trust bundle'],
      ['root of trust', context?.rootFingerprint ?? 'none', 'pinned at first login'],
      ['session length', env.KEYMAN_FOR ?? '8h', env.KEYMAN_FOR ? 'KEYMAN_FOR' : 'default'],
      [
        'browser',
        env.KEYMAN_BROWSER ?? env.BROWSER ?? "the desktop's",
        env.KEYMAN_BROWSER ? 'KEYMAN_BROWSER' : env.BROWSER ? 'BROWSER' : 'default',
      ],
      ['configuration folder', places.config, env.XDG_CONFIG_HOME ? 'XDG_CONFIG_HOME' : 'default'],
      [
        'runtime folder',
        places.runtime,
        env.XDG_RUNTIME_DIR && places.runtime.startsWith(env.XDG_RUNTIME_DIR) ? 'XDG_RUNTIME_DIR' : 'default',
      ],
    ]
    if (values.json) printJson(Object.fromEntries(rows.map(([name, value, from]) => [name, { value, from }])))
    else print(table(['SETTING', 'VALUE', 'FROM'], rows))
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { show }
