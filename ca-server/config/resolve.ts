import { join } from 'node:path'
import { parseIpAddress } from '#shared/ip-address.ts'
import { type HostName, parseHostName } from '#shared/names.ts'
import { holdsPassword, withPassword } from './database-url.ts'
import type { Settings } from './settings.ts'

/** Pure: settings that each are well-formed become one configuration; what does not fit together is reported. */

/** A value that does not show itself in logs, JSON or inspection. */
export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
  }
  reveal(): string {
    return this.#value
  }
  toJSON(): string {
    return '(secret)'
  }
  toString(): string {
    return '(secret)'
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '(secret)'
  }
}

export type ListenAddress = { readonly host: string; readonly port: number }
export type KeystoreSettings =
  | {
      readonly kind: 'software'
      readonly folder: string
      readonly unlock: { readonly keyFile: string } | { readonly passphrase: Secret } | { readonly credential: string }
    }
  | {
      readonly kind: 'pkcs11'
      readonly module: string
      readonly token: string
      readonly pin: Secret
      readonly sessions?: number
      readonly libraryParameters?: string
    }

export type ResolvedConfig = {
  /** The file that was read, absolute. */
  readonly file?: string
  readonly organisation: string
  /** What browsers open: an origin without a slash at its end. Its host is the WebAuthn RP ID. */
  readonly publicUrl: string
  readonly pages: {
    readonly listen: ListenAddress
    /** Balancers that have to say by the PROXY protocol whose connection it is. */
    readonly proxyProtocolFrom: readonly string[]
    /** Absent: plain http, on loopback only. */
    readonly tls?: { readonly certificateFile: string; readonly keyFile: string }
  }
  readonly machines: {
    readonly listen: ListenAddress
    readonly proxyProtocolFrom: readonly string[]
    /** An origin without a slash at its end. */
    readonly url: string
    /** DNS names and addresses of the server's own certificate. */
    readonly names: readonly string[]
  }
  readonly dataFolder: string
  readonly hostSuffixes: readonly HostName[]
  /** Addresses and CIDR ranges whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[]
  readonly database:
    | { readonly engine: 'pglite'; readonly folder: string }
    | { readonly engine: 'postgresql'; readonly url: Secret; readonly migrationUrl?: Secret }
  readonly keystore: KeystoreSettings
  readonly standbyKeystore?: KeystoreSettings
  readonly limits: {
    /** Requests without a caller from one address, each minute; half as many at once. */
    readonly strangersPerMinute: number
    /** Uses of one person's passkeys from one address, each minute; as many at once. */
    readonly assertionsPerMinute: number
    /** Requests of one person or host, each minute; as many at once. A certificate counts for ten, a denial for twenty. */
    readonly callersPerMinute: number
  }
  readonly authority: { readonly algorithm: 'ed25519' | 'ecdsa-p256' }
  /** The root of trust that the database's bundles must come by; where nothing is pinned in the data folder it has to be named. */
  readonly trust: { readonly rootFingerprint?: string }
  readonly session: { /** seconds */ readonly maxLifetime: number }
  readonly certificate: { /** seconds */ readonly defaultLifetime: number }
}

export type Surroundings = {
  readonly home: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readSecret: (path: string) => string
  /** Reports what is wrong with a setting; the caller throws once all is known. */
  readonly problem: (path: string, message: string) => void
  readonly absolutePath: (path: string, value: string) => string
}

export function resolveConfig(settings: Settings, around: Surroundings): ResolvedConfig {
  const pagesListen = settings['pages.listen'] ?? { host: '127.0.0.1', port: 4480 }
  const machinesListen = settings['machines.listen'] ?? { host: '127.0.0.1', port: 4443 }
  const publicUrl = settings.public_url ?? new URL(`http://localhost:${pagesListen.port}`)
  const tls = pagesTls(settings, around)
  checkPages(settings, publicUrl, pagesListen, tls !== undefined, around)
  if (overlap(pagesListen, machinesListen))
    around.problem('machines.listen', `is the port of pages.listen, ${pagesListen.port}: give each one of its own`)

  const machinesUrl = settings['machines.url'] ?? new URL(`https://localhost:${machinesListen.port}`)
  const machinesHost = machinesUrl.hostname.replace(/^\[|\]$/g, '')
  const local = machinesHost === 'localhost' ? ['127.0.0.1', '::1'] : []
  const names = settings['machines.names'] ?? [machinesHost, ...local]
  if (!names.includes(machinesHost))
    around.problem('machines.names', `must name the host of machines.url, ${machinesHost}`)

  const maxLifetime = settings['session.max_lifetime'] ?? 12 * 3600
  const defaultLifetime = settings['certificate.default_lifetime'] ?? Math.min(8 * 3600, maxLifetime)
  if (defaultLifetime > maxLifetime) {
    around.problem('certificate.default_lifetime', 'must not be longer than session.max_lifetime')
  }

  const dataFolder = around.absolutePath('data_folder', settings.data_folder ?? defaultDataFolder(around))
  const keystore = keystoreOf(settings, 'keystore', join(dataFolder, 'keystore'), around)
  const standby = standbyOf(settings, keystore, join(dataFolder, 'keystore-standby'), around)
  return {
    organisation: settings.organisation ?? 'local',
    publicUrl: publicUrl.origin,
    pages: {
      listen: pagesListen,
      proxyProtocolFrom: settings['pages.proxy_protocol_from'] ?? [],
      ...(tls ? { tls } : {}),
    },
    machines: {
      listen: machinesListen,
      proxyProtocolFrom: settings['machines.proxy_protocol_from'] ?? [],
      url: machinesUrl.origin,
      names,
    },
    dataFolder,
    hostSuffixes: (settings.host_suffixes ?? ['keyman.localhost']).map(suffix =>
      parseHostName(suffix, 'host_suffixes'),
    ),
    trustedProxies: settings.trusted_proxies ?? [],
    database: databaseOf(settings, join(dataFolder, 'database'), around),
    keystore,
    ...(standby ? { standbyKeystore: standby } : {}),
    limits: {
      strangersPerMinute: settings['limits.strangers_per_minute'] ?? 240,
      assertionsPerMinute: settings['limits.assertions_per_minute'] ?? 10,
      callersPerMinute: settings['limits.callers_per_minute'] ?? 600,
    },
    authority: { algorithm: settings['authority.algorithm'] ?? 'ed25519' },
    trust:
      settings['trust.root_fingerprint'] === undefined ? {} : { rootFingerprint: settings['trust.root_fingerprint'] },
    session: { maxLifetime },
    certificate: { defaultLifetime },
  }
}

/**
 * Where `keyman` of the same user looks for a server of this machine. XDG Base Directory Specification: a relative
 * XDG_STATE_HOME is to be ignored.
 */
export function defaultDataFolder({ env, home }: Pick<Surroundings, 'env' | 'home'>): string {
  const state = env.XDG_STATE_HOME
  return join(state?.startsWith('/') ? state : join(home, '.local', 'state'), 'keyman-server')
}

function pagesTls(settings: Settings, { problem, absolutePath }: Surroundings) {
  const certificate = settings['pages.tls_certificate']
  const key = settings['pages.tls_key']
  if (certificate !== undefined && key !== undefined) {
    return {
      certificateFile: absolutePath('pages.tls_certificate', certificate),
      keyFile: absolutePath('pages.tls_key', key),
    }
  }
  if (certificate !== undefined) problem('pages.tls_certificate', 'needs pages.tls_key beside it')
  if (key !== undefined) problem('pages.tls_key', 'needs pages.tls_certificate beside it')
  return undefined
}

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || host.startsWith('127.')

const isEverything = (host: string) => host === '0.0.0.0' || /^[0:]+$/.test(host)

/** Whether one socket would be in the other's way. */
const overlap = (one: ListenAddress, other: ListenAddress): boolean =>
  one.port === other.port &&
  (one.host === other.host || [one, other].some(({ host }) => isEverything(host) || host === 'localhost'))

/** Browsers speak WebAuthn over https, or over http with localhost alone; an address is no RP ID. */
function checkPages(settings: Settings, url: URL, listen: ListenAddress, tls: boolean, { problem }: Surroundings) {
  if (parseIpAddress(url.hostname.replace(/^\[|\]$/g, ''))) {
    problem('public_url', 'must have a DNS name as its host: browsers make no passkeys for an IP address')
  } else if (url.protocol === 'http:') {
    if (tls) problem('public_url', 'must begin with https:// where pages.tls_certificate is set')
    else if (!(url.hostname === 'localhost' || url.hostname.endsWith('.localhost'))) {
      problem('public_url', 'must begin with https://; http is for localhost alone')
    } else if (!isLoopback(listen.host)) {
      if (settings.public_url) problem('pages.listen', 'must be a loopback address while public_url is http')
      else problem('public_url', 'must be set where pages.listen is not a loopback address')
    }
  } else if (!tls && !(isLoopback(listen.host) && settings.trusted_proxies?.length)) {
    const proxy = 'or, behind a proxy on this machine, trusted_proxies and a loopback pages.listen'
    problem('public_url', `with https needs pages.tls_certificate and pages.tls_key; ${proxy}`)
  }
}

function databaseOf(settings: Settings, folder: string, around: Surroundings): ResolvedConfig['database'] {
  const url = settings['database.url']
  if (url === undefined) {
    for (const path of [
      'database.migration_url',
      'database.password_file',
      'database.migration_password_file',
    ] as const) {
      if (settings[path] !== undefined) around.problem(path, 'needs database.url beside it')
    }
    return { engine: 'pglite', folder }
  }
  const migrationUrl = settings['database.migration_url']
  if (migrationUrl === undefined && settings['database.migration_password_file'] !== undefined) {
    around.problem('database.migration_password_file', 'needs database.migration_url beside it')
  }
  return {
    engine: 'postgresql',
    url: urlOf(url, settings, 'database.password_file', around),
    ...(migrationUrl === undefined
      ? {}
      : { migrationUrl: urlOf(migrationUrl, settings, 'database.migration_password_file', around) }),
  }
}

function urlOf(
  url: string,
  settings: Settings,
  path: 'database.password_file' | 'database.migration_password_file',
  around: Surroundings,
): Secret {
  const password = secretFrom(settings[path], path, around)
  if (!password) return new Secret(url)
  if (holdsPassword(url)) around.problem(path, 'a password stands in the address already')
  return new Secret(withPassword(url, password.reveal()))
}

type KeystorePrefix = 'keystore' | 'keystore.standby'

function keystoreOf(settings: Settings, at: KeystorePrefix, folder: string, around: Surroundings): KeystoreSettings {
  const kind = settings[`${at}.kind`] ?? 'software'
  const foreign = kind === 'software' ? PKCS11_ONLY : SOFTWARE_ONLY
  for (const name of foreign) {
    if (settings[`${at}.${name}`] !== undefined)
      around.problem(`${at}.${name}`, `does not belong to ${at}.kind = "${kind}"`)
  }
  return kind === 'software' ? softwareOf(settings, at, folder, around) : pkcs11Of(settings, at, around)
}

const PKCS11_ONLY = ['module', 'token', 'pin', 'pin_file', 'sessions', 'library_parameters'] as const
const SOFTWARE_ONLY = ['key_file', 'passphrase_file', 'credential'] as const

function softwareOf(settings: Settings, at: KeystorePrefix, folder: string, around: Surroundings): KeystoreSettings {
  const [first, second] = SOFTWARE_ONLY.filter(name => settings[`${at}.${name}`] !== undefined)
  if (first && second)
    around.problem(`${at}.${second}`, `stands beside ${at}.${first}; only one of them opens the keys`)
  const passphrase = secretFrom(settings[`${at}.passphrase_file`], `${at}.passphrase_file`, around)
  if (passphrase) return { kind: 'software', folder, unlock: { passphrase } }
  const credential = settings[`${at}.credential`]
  if (credential !== undefined) {
    // systemd.exec(5): the folder of this service's credentials.
    const credentials = around.env.CREDENTIALS_DIRECTORY
    if (!credentials)
      around.problem(`${at}.credential`, 'needs systemd to start the server: CREDENTIALS_DIRECTORY is not set')
    return { kind: 'software', folder, unlock: { credential: join(credentials ?? '/', credential) } }
  }
  const keyFile = settings[`${at}.key_file`]
  const unlock = { keyFile: keyFile === undefined ? `${folder}.key` : around.absolutePath(`${at}.key_file`, keyFile) }
  return { kind: 'software', folder, unlock }
}

function pkcs11Of(settings: Settings, at: KeystorePrefix, around: Surroundings): KeystoreSettings {
  const module = settings[`${at}.module`]
  const token = settings[`${at}.token`]
  if (module === undefined) around.problem(`${at}.module`, 'must be set: the path of the PKCS#11 library')
  if (token === undefined) around.problem(`${at}.token`, 'must be set: the label of the token')
  const text = settings[`${at}.pin`]
  const pin = text === undefined ? secretFrom(settings[`${at}.pin_file`], `${at}.pin_file`, around) : new Secret(text)
  if (!pin && settings[`${at}.pin_file`] === undefined)
    around.problem(`${at}.pin_file`, 'must be set: a file with the PIN')
  const sessions = settings[`${at}.sessions`]
  const libraryParameters = settings[`${at}.library_parameters`]
  return {
    kind: 'pkcs11',
    module: module === undefined ? '' : around.absolutePath(`${at}.module`, module),
    token: token ?? '',
    pin: pin ?? new Secret(''),
    ...(sessions === undefined ? {} : { sessions }),
    ...(libraryParameters === undefined ? {} : { libraryParameters }),
  }
}

function standbyOf(settings: Settings, active: KeystoreSettings, folder: string, around: Surroundings) {
  const named = Object.keys(settings).filter(path => path.startsWith('keystore.standby.'))
  if (named.length === 0) return undefined
  const standby = keystoreOf(settings, 'keystore.standby', folder, around)
  // Two keys, never of two classes: whoever takes the software key would not need the HSM any more.
  if (standby.kind !== active.kind) {
    around.problem(
      'keystore.standby.kind',
      `must be "${active.kind}" as keystore.kind is: a standby key of another class weakens both`,
    )
  }
  // C_Initialize counts for all tokens of a module together.
  if (standby.kind === 'pkcs11' && active.kind === 'pkcs11' && standby.module === active.module) {
    if (standby.libraryParameters !== active.libraryParameters)
      around.problem('keystore.standby.library_parameters', 'must be as keystore.library_parameters: it is one module')
  }
  return standby
}

function secretFrom(value: string | undefined, path: string, around: Surroundings): Secret | undefined {
  if (value === undefined) return undefined
  const file = around.absolutePath(path, value)
  try {
    return new Secret(around.readSecret(file))
  } catch (error) {
    around.problem(path, `${file} ${error instanceof Error ? error.message : "can't be read"}`)
    return undefined
  }
}
