import { type ParseArgsConfig, parseArgs } from 'node:util'
import { KeymanError } from '#shared/errors.ts'
import { nearest } from '#shared/nearest.ts'
import { COMMON_VARIABLES } from './variables.ts'

export type Options = NonNullable<ParseArgsConfig['options']>

/** One command: its hand-written help (at most 40 lines), the flags that a test holds against it, and what it does. Gives the exit code. */
export type Command<O extends Options = Options> = {
  readonly help: string
  readonly options: O
  /** Flags that a variable of the environment may give; the flag wins. */
  readonly variables?: Readonly<Record<string, string>>
  run(values: Values<O>, positionals: readonly string[]): Promise<number>
}

type Value<Option> = Option extends { type: 'boolean' }
  ? boolean
  : Option extends { multiple: true }
    ? string[]
    : string
export type Values<O extends Options> = { readonly [Name in keyof O]?: Value<O[Name]> }

/** Keeps a command's own flag types. */
export const command = <O extends Options>(definition: Command<O>): Command<O> => definition

/** Flags that every command has. */
export const COMMON = { help: { type: 'boolean', short: 'h' }, context: { type: 'string' } } as const satisfies Options

/** Parses by the command's own flags; a wrong one is named, with the nearest right one. */
export function parse<O extends Options>(
  definition: Command<O>,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
) {
  const options = { ...COMMON, ...definition.options }
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const known = options[token.name]
    if (!known) {
      const near = nearest(token.name, Object.keys(options))
      throw usage(`there is no flag ${token.rawName}`, near ? `did you mean --${near}?` : undefined)
    }
    if (known.type === 'string' && token.value === undefined) throw usage(`${token.rawName} needs a value`)
    if (known.type === 'boolean' && token.value !== undefined) throw usage(`${token.rawName} takes no value`)
  }
  const given = { ...fromVariables(definition.variables, options, env), ...values }
  // `parseArgs` types what is not strict loosely; the loop above was as strict as it gets.
  return { values: given as Values<O> & { help?: boolean; context?: string }, positionals }
}

function fromVariables(variables: Command['variables'], options: Options, env: NodeJS.ProcessEnv) {
  const given: Record<string, string | boolean> = {}
  for (const [flag, variable] of Object.entries({ ...COMMON_VARIABLES, ...variables })) {
    const value = env[variable]
    const known = options[flag]
    if (!known || value === undefined || value === '') continue
    if (known.type === 'string') given[flag] = value
    else if (value === '1' || value === 'yes' || value === 'true') given[flag] = true
    else if (value !== '0' && value !== 'no' && value !== 'false')
      throw usage(`${variable} is neither yes nor no: ${JSON.stringify(value)}`)
  }
  return given
}

export const usage = (message: string, hint?: string): KeymanError =>
  new KeymanError('invalid-input', message, hint === undefined ? {} : { hint })

/** The positional arguments by name; a missing or surplus one is refused. */
export function take<const Names extends readonly string[]>(
  positionals: readonly string[],
  names: Names,
): { [I in keyof Names]: string } {
  if (positionals.length < names.length) throw usage(`${names[positionals.length]} is missing`)
  if (positionals.length > names.length)
    throw usage(`${JSON.stringify(positionals[names.length])} is one argument too many`)
  return names.map((_, i) => positionals[i] ?? '') as { [I in keyof Names]: string }
}
