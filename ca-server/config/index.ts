import { readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import { type FieldError, KeymanError } from '#shared/errors.ts'
import { printable } from '#shared/names.ts'
import { holdsPassword } from './database-url.ts'
import { type ResolvedConfig, resolveConfig } from './resolve.ts'
import {
  SECRET_SETTINGS,
  SETTING_PATHS,
  settingsSchema,
  URL_SETTINGS,
  valueOfVariable,
  variableOf,
} from './settings.ts'
import { editDistance, flatten, lineOf, linesOf, nearest } from './source.ts'

export { type DatabaseUrl, parseDatabaseUrl } from './database-url.ts'
export type { KeystoreSettings, ListenAddress } from './resolve.ts'
export { defaultDataFolder, Secret } from './resolve.ts'
export { variableOf } from './settings.ts'
export { configText, PACKAGED_CONFIG, TEMPLATE_EXAMPLES, TEMPLATE_SETTINGS } from './template.ts'

/** Everything resolved: absolute paths, host and port apart, times in seconds, defaults filled in, secrets read. */
export type ServerConfig = ResolvedConfig

export const isSetting = (path: string): boolean => SETTING_PATHS.includes(path)

/** What a text stands for as the value of a setting in a file, or what is wrong with it. */
export function parseValue(
  path: string,
  text: string,
): { readonly value: unknown; readonly problem: string | undefined } {
  const value = valueOfVariable(path, text)
  const [issue] = settingsSchema.safeParse({ [path]: value }).error?.issues ?? []
  const isOpen = URL_SETTINGS.has(path) && holdsPassword(text)
  return { value, problem: isOpen ? 'must hold no password: a file of its own holds that' : issue?.message }
}

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * The configuration: one TOML file (`file`, else the one that `KEYMAN_CONFIG` names, else none), then `KEYMAN_*`
 * variables over it. Throws `invalid-input` whose `fields` name every wrong setting, with the line of the file or the
 * variable, and what is allowed. No message holds a secret.
 */
export function loadConfig(options: ConfigOptions): ServerConfig {
  return goodConfig(readConfig(options))
}

export type ConfigOptions = { readonly file?: string; readonly env: Environment; readonly home: string }

/** The configuration with what is wrong with it: what `check-config` looks at further. */
export type ReadConfig = {
  /** Where settings are wrong, their defaults. */
  readonly config: ServerConfig
  readonly problems: readonly FieldError[]
  /** Where a setting stands: `FILE line 7`, or its variable. */
  readonly where: (setting: string) => string
}

/** The same, without throwing for wrong settings. */
export function readConfig(options: ConfigOptions): ReadConfig {
  const file = options.file ?? options.env.KEYMAN_CONFIG
  const absolute = file === undefined || file === '' ? undefined : resolve(file)
  return readSettings(absolute === undefined ? '' : readText(absolute), options.env, absolute, {
    home: options.home,
    readSecret,
  })
}

/** Settings that are judged together. */
const groupOf = (path: string): string => (path === 'public_url' ? 'pages' : (path.split('.')[0] ?? path))

/** Throws `invalid-input` whose `fields` are the problems. */
export function goodConfig({ config, problems }: ReadConfig): ServerConfig {
  const [first] = problems
  if (first) throw refusal(first, [...problems])
  return config
}

/** What `parseConfig` needs from outside; both come in as arguments so that it stays pure. */
export type ConfigSurroundings = {
  readonly home: string
  /** The one line of a secret's file. Throws an Error whose message ends a sentence that begins with the path. */
  readonly readSecret: (path: string) => string
}

/** The same without any I/O of its own. `file` is for messages and relative paths. */
export function parseConfig(
  text: string,
  env: Environment,
  file: string | undefined,
  surroundings: ConfigSurroundings,
): ServerConfig {
  return goodConfig(readSettings(text, env, file, surroundings))
}

function readSettings(
  text: string,
  env: Environment,
  file: string | undefined,
  surroundings: ConfigSurroundings,
): ReadConfig {
  const lines = linesOf(text)
  const problems: FieldError[] = []
  const fromVariable = new Set<string>()
  const where = (path: string) => {
    if (fromVariable.has(path)) return `variable ${variableOf(path)}`
    const line = lineOf(lines, path)
    return line === undefined
      ? `not set; its variable is ${variableOf(path)}`
      : `${file ?? 'configuration'} line ${line}`
  }
  const problem = (path: string, message: string) =>
    void problems.push({ field: path, message: `${message} (${where(path)})` })

  const values = flatten(parseToml(text, file))
  for (const path of values.keys()) {
    if (SETTING_PATHS.includes(path)) continue
    values.delete(path)
    if (path.endsWith('.') && SETTING_PATHS.some(known => known.startsWith(path))) continue
    const name = path.replace(/\.$/, '')
    const near = nearest(name, SETTING_PATHS)
    problem(name, `there is no such setting${near ? `; did you mean ${near}?` : ''}`)
  }
  for (const path of SECRET_SETTINGS) {
    if (values.delete(path))
      problem(path, `a secret may not stand in the file; name a file with ${path}_file, or set ${variableOf(path)}`)
  }
  for (const path of URL_SETTINGS) {
    const value = values.get(path)
    if (typeof value === 'string' && holdsPassword(value)) {
      problem(
        path,
        `a password may not stand in the file; name a file with ${path.replace('url', 'password_file')}, or set ${variableOf(path)}`,
      )
    }
  }
  for (const path of SETTING_PATHS) {
    const value = env[variableOf(path)]
    if (value === undefined || value === '') continue
    values.set(path, valueOfVariable(path, value))
    fromVariable.add(path)
  }
  problems.push(...misspeltVariables(env))

  const checked = settingsSchema.safeParse(Object.fromEntries(values))
  const isWrong = (path: string) => checked.error?.issues.some(issue => issue.path[0] === path) === true
  for (const issue of checked.error?.issues ?? []) {
    const path = String(issue.path[0] ?? '')
    const entry = issue.path[1]
    const value = values.get(path)
    const one = typeof entry === 'number' && Array.isArray(value) ? value[entry] : value
    const secret = SECRET_SETTINGS.has(path) || URL_SETTINGS.has(path)
    problem(path, typeof one === 'string' && !secret ? `${printable(one)} ${issue.message}` : issue.message)
  }
  const folder = file === undefined ? undefined : dirname(file)
  const absolutePath = (path: string, value: string): string => {
    if (value === '~' || value.startsWith('~/')) return join(surroundings.home, value.slice(1))
    if (isAbsolute(value)) return resolve(value)
    if (folder !== undefined && !fromVariable.has(path)) return resolve(folder, value)
    problem(path, `${printable(value)} must be an absolute path`)
    return value
  }
  // What is wrong is left out, so that the rest can be looked at; what it belongs together with is not judged then.
  const wrong = new Set(problems.map(({ field }) => groupOf(field)))
  const rest = checked.data ?? settingsSchema.parse(Object.fromEntries([...values].filter(([path]) => !isWrong(path))))
  const config = resolveConfig(rest, {
    ...surroundings,
    env,
    absolutePath,
    problem: (path, message) => wrong.has(groupOf(path)) || problem(path, message),
  })
  return { config: file === undefined ? config : { ...config, file }, problems, where }
}

function refusal(first: FieldError, fields: FieldError[]): KeymanError {
  const more = fields.length - 1
  const rest = more === 0 ? '' : `, and ${more} more ${more === 1 ? 'problem' : 'problems'}`
  return new KeymanError('invalid-input', `the configuration is not valid: ${first.field}: ${first.message}${rest}`, {
    fields,
    hint: 'correct it, then run keyman-server check-config',
  })
}

function parseToml(text: string, file: string | undefined): object {
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    // The library's message goes on with the lines around, which may hold anything: only its first line is kept.
    const [first = ''] = error.message.split('\n')
    const message = `${first.replace(/^Invalid TOML document: /, '')} (${file ?? 'configuration'} line ${error.line})`
    throw refusal({ field: 'file', message }, [{ field: 'file', message }])
  }
}

/** A variable that is nearly one of ours, or begins as one group of ours does. Others belong to other programs of KeyMan. */
function misspeltVariables(env: Environment): FieldError[] {
  const known = SETTING_PATHS.map(variableOf)
  const groups = ['PAGES', 'MACHINES', 'DATABASE', 'KEYSTORE', 'AUTHORITY', 'LIMITS'].map(group => `KEYMAN_${group}_`)
  const found: FieldError[] = []
  for (const name of Object.keys(env)) {
    if (!name.startsWith('KEYMAN_') || known.includes(name)) continue
    const near = nearest(name, known)
    const isNear = near !== undefined && editDistance(name, near) <= 2
    if (!isNear && !groups.some(group => name.startsWith(group))) continue
    found.push({ field: printable(name), message: `there is no such variable${near ? `; did you mean ${near}?` : ''}` })
  }
  return found
}

function readText(file: string): string {
  try {
    if (statSync(file).size > 1_000_000) throw new Error('it is larger than a megabyte')
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new KeymanError('invalid-input', `the configuration ${file} can't be read: ${reasonOf(error)}`, {
      hint: 'name an existing file with --config or KEYMAN_CONFIG',
    })
  }
}

/** The one line of a file that nobody else may read. Throws an Error whose message ends a sentence that begins with the path. */
export function readSecret(path: string): string {
  let text: string
  try {
    const { mode, size } = statSync(path)
    if (mode & 0o077) throw new Error(`others may read it (mode ${(mode & 0o777).toString(8)}); run chmod 600 on it`)
    if (size > 4096) throw new Error('it is larger than 4 kB')
    text = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    throw new Error(`can't be used: ${reasonOf(error)}`)
  }
  if (text === '' || /[\r\n\0]/.test(text)) throw new Error('must hold exactly one line')
  return text
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown reason'
  const code = 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES') return 'this user may not read it'
  return typeof code === 'string' ? code : error.message
}
