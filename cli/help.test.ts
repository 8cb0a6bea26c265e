import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bash, fish } from './commands/completion.ts'
import { GROUPS } from './groups.ts'
import { COMMON } from './terminal/command.ts'
import { COMMON_VARIABLES } from './terminal/variables.ts'

const groups = await Promise.all(
  Object.entries(GROUPS).map(async ([word, load]) => ({ word, commands: (await load()).commands })),
)
const all = groups.flatMap(({ word, commands }) =>
  Object.entries(commands).map(([verb, command]) => ({ name: verb ? `${word} ${verb}` : word, command })),
)

describe.each(all)('keyman $name --help', ({ name, command }) => {
  it('fits on a screen', () => {
    const lines = command.help.split('\n')
    expect(lines.length).toBeLessThanOrEqual(40)
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(110)
  })
  it('says in one line what it does, then how to call it', () => {
    const [first, second] = command.help.split('\n')
    expect(first).toMatch(new RegExp(`^keyman ${name}: \\S`))
    expect(second).toMatch(new RegExp(`^usage: keyman ${name}( |$)`))
  })
  it('names every flag that there is, and none that is not', () => {
    // What other programs take (ssh-keygen -Y, ssh -L) has one dash.
    const named = new Set([...command.help.matchAll(/--([a-z0-9][a-z0-9-]*)/g)].map(([, flag]) => flag))
    const flags = Object.keys(command.options)
    for (const flag of flags) expect([...named], `--${flag}`).toContain(flag)
    const elsewhere = [...Object.keys(COMMON), ...otherCommands(command.help)]
    for (const flag of named) expect([...flags, ...elsewhere], `--${flag}`).toContain(flag)
  })
  it('answers in JSON, but where it prints no more than words for a person, or runs for another program', () => {
    const prose = ['ssh check', 'completion', 'audit export']
    expect('json' in command.options).toBe(!prose.includes(name))
  })
  it('has variables for flags of its own alone', () => {
    for (const flag of Object.keys(command.variables ?? {})) expect(Object.keys(command.options)).toContain(flag)
    if ('json' in command.options) expect(COMMON_VARIABLES.json).toBe('KEYMAN_JSON')
  })
})

/** Flags of other commands that a help points to, such as `keyman ssh config --install`. */
const otherCommands = (help: string): string[] =>
  all
    .filter(({ name }) => help.split('\n').some(line => line.includes(`keyman ${name} `)))
    .flatMap(({ command }) => Object.keys(command.options))
    .concat(/keyman-agent join --token-file/.test(help) ? ['token-file'] : [])

it("keyman's own help names each verb of each group", () => {
  const help = readFileSync(join(import.meta.dirname, '..', 'bin', 'help', 'keyman.txt'), 'utf8')
  const told = [...help.matchAll(/^ {2}(\w+) {2,}(\w[\w, -]*)/gm)].flatMap(([, word, verbs]) => {
    const group = groups.find(group => group.word === word && !('' in group.commands))
    return group && verbs ? [{ word, verbs: verbs.split(', '), has: Object.keys(group.commands) }] : []
  })
  expect(told.length).toBeGreaterThan(10)
  for (const { word, verbs, has } of told) expect(verbs, word).toEqual(has)
})

describe('completion', () => {
  /** What bash offers where the last of these words is being typed. */
  const offered = (...words: string[]): string[] =>
    execFileSync(
      'bash',
      [
        '-c',
        `${bash(groups, 'bash')}\nCOMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _keyman; echo "\${COMPREPLY[*]}"`,
        'bash',
        ...words,
      ],
      { encoding: 'utf8' },
    )
      .trim()
      .split(' ')
      .filter(Boolean)
  it('offers every word that there is', () => {
    expect(offered('keyman', '').sort()).toEqual(groups.map(({ word }) => word).sort())
    expect(offered('keyman', 'grant', '')).toEqual(['list', 'show', 'add', 'change', 'remove'])
    expect(offered('keyman', 'gr')).toEqual(['grant'])
  })
  it('offers the flags of a verb, and those of a command without one', () => {
    expect(offered('keyman', 'grant', 'add', 'x', '--la')).toEqual(['--label'])
    expect(offered('keyman', 'login', '--fi')).toEqual(['--fingerprint'])
    expect(offered('keyman', 'status', '--check', '--f').sort()).toEqual(['--files', '--for'])
    expect(offered('keyman', 'status', 'x')).toEqual([])
    expect(fish(groups)).toContain(
      "complete -c keyman -n '__fish_seen_subcommand_from grant; and __fish_seen_subcommand_from add' -l label",
    )
  })
})
