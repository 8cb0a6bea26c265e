import { EXIT } from '#shared/exit-codes.ts'
import { GROUPS } from '../groups.ts'
import { type Command, command, take, usage } from '../terminal/command.ts'
import { print } from '../terminal/terminal.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

const completion = command({
  help: `keyman completion: make the shell complete keyman's words and flags
usage: keyman completion bash|zsh|fish

examples:
  keyman completion bash >> ~/.bashrc
  keyman completion fish > ~/.config/fish/completions/keyman.fish`,
  options: {},
  async run(_, positionals) {
    const [name] = take(positionals, ['SHELL (bash, zsh or fish)'])
    const shell = SHELLS.find(known => known === name)
    if (!shell) throw usage(`${JSON.stringify(name)} is not one of ${SHELLS.join(', ')}`)
    const groups = await Promise.all(
      Object.entries(GROUPS).map(async ([word, load]) => ({ word, commands: (await load()).commands })),
    )
    print(shell === 'fish' ? fish(groups) : bash(groups, shell))
    return EXIT.done
  },
})

export type Group = { readonly word: string; readonly commands: Readonly<Record<string, Command>> }

const flagsOf = ({ options }: Command): string[] => [...Object.keys(options), 'context', 'help']
const verbsOf = ({ commands }: Group): string[] => Object.keys(commands).filter(Boolean)

/** Pure: bash's function, which zsh takes too. A flag is offered where a dash was typed, or where no word can follow. */
export function bash(groups: readonly Group[], shell: 'bash' | 'zsh'): string {
  const verbs = groups
    .filter(group => verbsOf(group).length > 0)
    .map(group => `    ${group.word}) words='${verbsOf(group).join(' ')}';;`)
  const flags = groups.flatMap(({ word, commands }) =>
    Object.entries(commands).map(
      ([verb, own]) => `    ${verb ? `'${word} ${verb}'` : `'${word} '*`}) words='${dashed(own)}';;`,
    ),
  )
  return `${shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}_keyman() {
  local words='' word="\${COMP_WORDS[COMP_CWORD]}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='${groups.map(({ word }) => word).join(' ')}'
  elif [ "\${word#-}" != "$word" ]; then
    case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
${flags.join('\n')}
    esac
  elif [ "$COMP_CWORD" -eq 2 ]; then
    case "\${COMP_WORDS[1]}" in
${verbs.join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _keyman keyman`
}

const dashed = (command: Command): string =>
  flagsOf(command)
    .map(flag => `--${flag}`)
    .join(' ')

/** Pure. */
export const fish = (groups: readonly Group[]): string =>
  [
    'complete -c keyman -f',
    `complete -c keyman -n __fish_use_subcommand -a '${groups.map(({ word }) => word).join(' ')}'`,
    ...groups.flatMap(group => {
      const verbs = verbsOf(group)
      const after = `__fish_seen_subcommand_from ${group.word}`
      return [
        ...(verbs.length > 0 ? [`complete -c keyman -n '${after}' -a '${verbs.join(' ')}'`] : []),
        ...Object.entries(group.commands).flatMap(([verb, own]) => {
          const when = verb ? `${after}; and __fish_seen_subcommand_from ${verb}` : after
          return flagsOf(own).map(flag => `complete -c keyman -n '${when}' -l ${flag}`)
        }),
      ]
    }),
  ].join('\n')

export const commands: Record<string, Command> = { '': completion }
