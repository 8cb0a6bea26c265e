import { spawnSync } from 'node:child_process'
import {
  chownSync,
  closeSync,
  existsSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { configText, PACKAGED_CONFIG, parseDatabaseUrl, TEMPLATE_SETTINGS } from '#server/config/index.ts'
import { type FieldError, KeymanError } from '#shared/errors.ts'
import { type ConfigSurroundings, parseConfig, parseValue } from '../config/index.ts'

/** Asks on a terminal, in turn. `undefined`: nobody can be asked. */
export type Ask = {
  /** Empty answers are `otherwise`, where there is one; asked again until `check` has nothing against it. */
  readonly line: (
    question: string,
    otherwise: string | undefined,
    check: (answer: string) => string | undefined,
  ) => Promise<string>
  /** Not shown while it is typed. */
  readonly secret: (question: string) => Promise<string>
}

export type InitOptions = {
  readonly file: string | undefined
  /** By setting, as the flags gave them. */
  readonly given: ReadonlyMap<string, string>
  /** The user that the server runs as, where root makes the files. */
  readonly user: string | undefined
  readonly isRoot: boolean
  readonly ask: Ask | undefined
  readonly home: string
  readonly readSecret: ConfigSurroundings['readSecret']
}

/** What was made, in order; and what the configuration names that somebody has still to put there. */
export type Initiated = { readonly file: string; readonly made: readonly string[]; readonly missing: readonly string[] }

type File = { readonly path: string; readonly text: string }

export const flagOf = (setting: string): string => `--${setting.replaceAll('.', '-').replaceAll('_', '-')}`

/**
 * Writes a configuration that starts, and the files with secrets that it names. Nothing that is there is replaced, and nothing
 * is written before all of it has been read back as a configuration.
 */
export async function init(options: InitOptions): Promise<Initiated> {
  const { ask, home, readSecret } = options
  const owner = options.user === undefined ? undefined : idsOf(options.user)
  const file = resolve(
    await required(
      'config',
      'Where shall the configuration stand',
      options.file,
      options.isRoot ? '/etc/keyman/server.toml' : undefined,
      ask,
    ),
  )
  if (!isAsPackaged(file)) refuseExisting(file)
  const secrets: File[] = []
  const values = await settings(options, dirname(file), secrets)
  for (const { path } of secrets) refuseExisting(path)
  const text = configText(values, file)
  // As the server will read it, with the secrets that are still to be written.
  const config = parseConfig(text, {}, file, {
    home,
    readSecret: path => secrets.find(secret => secret.path === path)?.text ?? readSecret(path),
  })
  const { certificateFile, keyFile } = config.pages.tls ?? {}
  const module = config.keystore.kind === 'pkcs11' ? config.keystore.module : undefined
  const named = [certificateFile, keyFile, module].filter(path => path !== undefined)
  return {
    file,
    made: write([...secrets, { path: file, text }], config.dataFolder, owner),
    missing: named.filter(path => !existsSync(path)),
  }
}

/** What to ask, in order; the rest comes from flags, or stays as a comment. */
async function settings(options: InitOptions, folder: string, secrets: File[]): Promise<Map<string, unknown>> {
  const { given, ask, isRoot } = options
  const values = new Map<string, unknown>()
  const problems: FieldError[] = []
  for (const [path, text] of given) {
    const { value, problem } = parseValue(path, text)
    if (problem === undefined) values.set(path, value)
    else problems.push({ field: flagOf(path), message: problem })
  }
  const [first] = problems
  if (first) throw new KeymanError('invalid-input', `${first.field}: ${first.message}`, { fields: problems })
  /** Asked where somebody can be; `undefined` leaves it out. */
  const want = async (path: string, question: string, otherwise?: string): Promise<string | undefined> => {
    const has = given.get(path)
    if (has !== undefined) return has
    const check = (answer: string) => (answer === '' ? undefined : parseValue(path, answer).problem)
    const answer = ask ? await ask.line(question, otherwise, check) : (otherwise ?? '')
    if (answer !== '') values.set(path, parseValue(path, answer).value)
    return answer === '' ? undefined : answer
  }
  const must = async (path: string, question: string, otherwise?: string): Promise<string> => {
    const answer = await required(
      flagOf(path).slice(2),
      question,
      given.get(path),
      otherwise,
      ask,
      text => parseValue(path, text).problem,
    )
    values.set(path, parseValue(path, answer).value)
    return answer
  }

  await must('organisation', 'Organisation, a short name')
  const url = new URL(await must('public_url', 'Address of the pages, as browsers open it (https://keys.example.com)'))
  const local = url.protocol === 'http:'
  await want(
    'host_suffixes',
    'DNS suffixes of your hosts, with commas between',
    local ? undefined : url.hostname.replace(/^[^.]+\./, ''),
  )
  await want('data_folder', 'Folder for its data', isRoot ? '/var/lib/keyman' : undefined)
  if (!local) {
    const certificate = await want(
      'pages.tls_certificate',
      'Certificate of the pages, a PEM file (empty: a proxy on this machine ends TLS)',
    )
    if (certificate === undefined) {
      setDefault(values, 'trusted_proxies', ['127.0.0.1', '::1'])
      await want('pages.listen', 'Where shall the pages listen, for the proxy', '127.0.0.1:4480')
    } else {
      await must('pages.tls_key', 'Its private key, a PEM file')
      await want('pages.listen', 'Where shall the pages listen', `0.0.0.0:${url.port || '443'}`)
    }
  } else setDefault(values, 'pages.listen', `127.0.0.1:${url.port || '80'}`)
  const machinesListen = await want(
    'machines.listen',
    'Where shall it listen for laptops and hosts',
    `${local ? '127.0.0.1' : '0.0.0.0'}:4443`,
  )
  setDefault(values, 'machines.url', `https://${url.hostname}:${machinesListen?.replace(/^.*:/, '') ?? '4443'}`)
  await database(options, want, values, folder, secrets)
  const module = await want('keystore.module', 'PKCS#11 module of the HSM (empty: keys in encrypted files)')
  if (module !== undefined) {
    values.set('keystore.kind', 'pkcs11')
    await must('keystore.token', 'Label of the token')
    await secretFile('keystore.pin_file', 'PIN of the token', join(folder, 'pin'), options, values, secrets)
  }
  return values
}

async function database(
  options: InitOptions,
  want: (path: string, question: string) => Promise<string | undefined>,
  values: Map<string, unknown>,
  folder: string,
  secrets: File[],
): Promise<void> {
  for (const [path, question, passwordPath, name] of [
    [
      'database.url',
      'PostgreSQL of the server, postgresql://keyman_app@HOST/keyman (empty: embedded)',
      'database.password_file',
      'database-password',
    ],
    [
      'database.migration_url',
      'The same with the role that owns the tables (empty: there is one role)',
      'database.migration_password_file',
      'migration-password',
    ],
  ] as const) {
    const url = await want(path, question)
    if (url === undefined) return
    // Over a socket the system says who it is.
    if (parseDatabaseUrl(url).hosts.every(({ host }) => host.startsWith('/'))) continue
    const password = `Password of ${parseDatabaseUrl(url).user ?? 'this role'} (empty: none)`
    await secretFile(passwordPath, password, join(folder, name), options, values, secrets)
  }
}

/** A secret is typed, never an argument: a flag names a file that holds it. */
async function secretFile(
  setting: string,
  question: string,
  path: string,
  { given, ask }: InitOptions,
  values: Map<string, unknown>,
  secrets: File[],
): Promise<void> {
  if (given.has(setting) || !ask) return
  const secret = await ask.secret(question)
  if (secret === '') return
  values.set(setting, path)
  secrets.push({ path, text: secret })
}

const setDefault = (values: Map<string, unknown>, path: string, value: unknown) =>
  void (values.has(path) || values.set(path, value))

async function required(
  flag: string,
  question: string,
  given: string | undefined,
  otherwise: string | undefined,
  ask: Ask | undefined,
  check: (answer: string) => string | undefined = () => undefined,
): Promise<string> {
  const needed = (answer: string) => (answer === '' ? 'it is needed' : check(answer))
  const answer = given ?? (ask ? await ask.line(question, otherwise, needed) : otherwise)
  if (answer !== undefined) return answer
  throw new KeymanError(
    'invalid-input',
    `nobody can be asked here: ${question.replace(/^[A-Z]/, c => c.toLowerCase())}`,
    {
      hint: `--${flag} answers it`,
    },
  )
}

/** Flags that `init` takes, by setting. */
export const INIT_SETTINGS = TEMPLATE_SETTINGS.filter(path => path !== 'keystore.kind')

function refuseExisting(path: string): void {
  if (existsSync(path))
    throw new KeymanError('conflict', `${path} is there already, and is not replaced`, {
      hint: 'move it away first, or name another file with --config',
    })
}

/** What a package brings, as long as nobody has changed it, holds nobody's decision. */
const isAsPackaged = (path: string): boolean => existsSync(path) && readFileSync(path, 'utf8') === PACKAGED_CONFIG

type Owner = { readonly uid: number; readonly gid: number }

function idsOf(user: string): Owner {
  const id = (flag: string) => {
    const { status, stdout } = spawnSync('id', [flag, '--', user], { encoding: 'utf8' })
    if (status !== 0)
      throw new KeymanError('not-found', `this machine has no user ${JSON.stringify(user)}`, {
        hint: `useradd --system --user-group --no-create-home ${user}`,
      })
    return Number(stdout.trim())
  }
  return { uid: id('-u'), gid: id('-g') }
}

/** Nobody else may read any of it at any moment: modes and owner are there before the first byte. What fails leaves nothing. */
function write(files: readonly File[], dataFolder: string, owner: Owner | undefined): string[] {
  const made: string[] = []
  try {
    for (const folder of [...new Set(files.map(({ path }) => dirname(path))), dataFolder]) {
      const first = mkdirSync(folder, { recursive: true, mode: 0o700 })
      if (first === undefined) continue
      made.push(first)
      for (let at = folder; owner && at.length >= first.length; at = dirname(at)) chownSync(at, owner.uid, owner.gid)
    }
    for (const { path, text } of files) {
      // Beside its place first where a packaged one stands there: so there is always one of the two, whole.
      const beside = isAsPackaged(path) ? `${path}.new` : path
      const descriptor = openSync(beside, 'wx', 0o600)
      made.push(beside)
      try {
        if (owner) fchownSync(descriptor, owner.uid, owner.gid)
        writeSync(descriptor, text.endsWith('\n') ? text : `${text}\n`)
        fsyncSync(descriptor)
      } finally {
        closeSync(descriptor)
      }
      if (beside === path) continue
      // Somebody may have written one while questions were answered.
      if (!isAsPackaged(path)) refuseExisting(path)
      renameSync(beside, path)
      made.splice(-1, 1, path)
    }
    return made
  } catch (error) {
    for (const path of made.toReversed()) rmSync(path, { recursive: true, force: true })
    throw error
  }
}
