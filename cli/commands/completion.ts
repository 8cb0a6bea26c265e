import { EXIT } from '#shared/exit-codes.ts'
import { type Command, command, take, usage } from '../command.ts'
import { print } from '../terminal.ts'

/** What follows each first word; a test holds it against the commands themselves. */
export const WORDS: Readonly<Record<string, readonly string[]>> = {
  login: [],
  logout: [],
  status: [],
  why: [],
  revoke: [],
  doctor: [],
  ssh: ['config', 'check', 'renew'],
  person: ['list', 'show', 'invite', 'disable', 'enable'],
  invitation: ['list', 'remove'],
  team: ['list', 'show', 'add', 'remove'],
  grant: ['list', 'add', 'remove'],
  host: ['list', 'show', 'add', 'remove'],
  passkey: ['list', 'add', 'rename', 'remove'],
  audit: ['list', 'show', 'verify'],
  trust: ['show', 'sign', 'move-root'],
  config: ['show'],
  completion: ['bash', 'zsh', 'fish'],
}

const completion = command({
  help: `keyman completion: make the shell complete keyman's words
usage: keyman completion bash|zsh|fish

examples:
  keyman completion bash >> ~/.bashrc
  keyman completion fish > ~/.config/fish/completions/keyman.fish`,
  options: {},
  async run(_, positionals) {
    const [shell] = take(positionals, ['SHELL'])
    if (shell !== 'bash' && shell !== 'zsh' && shell !== 'fish')
      throw usage(`${JSON.stringify(shell)} is not one of bash, zsh, fish`)
    print(shell === 'fish' ? fish() : bash(shell))
    return EXIT.done
  },
})

function bash(shell: 'bash' | 'zsh'): string {
  const cases = Object.entries(WORDS)
    .filter(([, verbs]) => verbs.length > 0)
    .map(([noun, verbs]) => `    ${noun}) words='${verbs.join(' ')}';;`)
  return `${shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}_keyman() {
  local words=''
  [ "$COMP_CWORD" -eq 1 ] && words='${Object.keys(WORDS).join(' ')}'
  [ "$COMP_CWORD" -eq 2 ] && case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _keyman keyman`
}

const fish = (): string =>
  [
    'complete -c keyman -f',
    `complete -c keyman -n __fish_use_subcommand -a '${Object.keys(WORDS).join(' ')}'`,
    ...Object.entries(WORDS)
      .filter(([, verbs]) => verbs.length > 0)
      .map(([noun, verbs]) => `complete -c keyman -n '__fish_seen_subcommand_from ${noun}' -a '${verbs.join(' ')}'`),
  ].join('\n')

export const commands: Record<string, Command> = { '': completion }
