import { z } from 'zod'
import { parseDuration } from '#shared/durations.ts'
import { parseIpAddress } from '#shared/ip-address.ts'
import { isHostName } from '#shared/names.ts'
import { isOrganisation } from '#shared/x509/index.ts'
import { parseDatabaseUrl } from './database-url.ts'

/**
 * Pure: every setting of the server, by its path in the TOML file. The variable of `pages.listen` is
 * `KEYMAN_PAGES_LISTEN`. Each message says what is allowed; the value itself is added where it is no secret.
 */
const text = (allowed: string) => z.string({ error: `must be ${allowed}` }).max(4096, `must be ${allowed}`)
const that = (is: (value: string) => boolean, allowed: string) => text(allowed).refine(is, `must be ${allowed}`)

const listen = text('an address and a port such as 127.0.0.1:4480').transform((value, context) => {
  const [, v6, v4, port] = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+|localhost)):([0-9]{1,5})$/i.exec(value) ?? []
  const host = v6 ?? v4
  if (
    host === undefined ||
    Number(port) < 1 ||
    Number(port) > 65_535 ||
    !(host === 'localhost' || parseIpAddress(host))
  ) {
    context.addIssue({ code: 'custom', message: 'must be an address and a port such as 127.0.0.1:4480 or [::]:4480' })
    return z.NEVER
  }
  return { host, port: Number(port) }
})

/** An address of the form `scheme://host[:port]`; nothing after it. */
const origin = (schemes: readonly string[], example: string) =>
  text(`an address such as ${example}`).transform((value, context) => {
    const url = URL.canParse(value) ? new URL(value) : undefined
    if (
      !url ||
      !schemes.includes(url.protocol) ||
      !(value === url.origin || value === `${url.origin}/`) ||
      !(isHostName(url.hostname) || parseIpAddress(url.hostname.replace(/^\[|\]$/g, '')))
    ) {
      context.addIssue({
        code: 'custom',
        message: `must be an address such as ${example}, lower case, with nothing after it`,
      })
      return z.NEVER
    }
    return url
  })

const duration = (minimum: number, maximum: number, range: string) =>
  text('a duration such as 15m, 8h or 30d').transform((value, context) => {
    const seconds = /^[1-9][0-9]{0,7}[smhd]$/.test(value) ? parseDuration(value, '') : 0
    if (seconds < minimum || seconds > maximum) {
      context.addIssue({ code: 'custom', message: `must be a duration of ${range}, such as 15m, 8h or 2d` })
      return z.NEVER
    }
    return seconds
  })

const isAddress = (value: string) => parseIpAddress(value) !== undefined
function isAddressOrRange(value: string): boolean {
  const [address = '', bits, ...more] = value.split('/')
  const bytes = parseIpAddress(address)
  if (!bytes || more.length > 0) return false
  return bits === undefined || (/^(0|[1-9][0-9]{0,2})$/.test(bits) && Number(bits) <= bytes.length * 8)
}
const path = text('the path of a file or folder').min(1, 'must be the path of a file or folder')
const list = <T extends z.ZodType>(item: T, allowed: string) =>
  z.array(item, { error: `must be a list of ${allowed}` }).max(100, 'at most 100 entries')
const postgresUrl = text('an address such as postgresql://keyman@db.example.com/keyman').superRefine(
  (value, context) => {
    try {
      parseDatabaseUrl(value)
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : 'is no connection string' })
    }
  },
)
const kind = z.enum(['software', 'pkcs11'], { error: 'must be "software" or "pkcs11"' })
const sessions = z
  .int({ error: 'must be a whole number of 1 to 256' })
  .min(1, 'must be 1 to 256')
  .max(256, 'must be 1 to 256')

const perMinute = z
  .int({ error: 'must be a whole number of 1 to 1000000' })
  .min(1, 'must be 1 to 1000000')
  .max(1_000_000, 'must be 1 to 1000000')

const keystoreSettings = {
  'keystore.kind': kind.optional(),
  'keystore.module': path.optional(),
  'keystore.token': text('the label of the token').min(1).max(32, 'a label has at most 32 characters').optional(),
  'keystore.pin': text('the PIN').optional(),
  'keystore.pin_file': path.optional(),
  'keystore.sessions': sessions.optional(),
  'keystore.library_parameters': text("what the module's manual wants at its initialization").optional(),
  'keystore.key_file': path.optional(),
  'keystore.passphrase_file': path.optional(),
  'keystore.credential': that(
    value => /^[A-Za-z0-9._-]{1,255}$/.test(value),
    'the name of a systemd credential',
  ).optional(),
} as const

const ranges = list(
  that(isAddressOrRange, 'an address or range such as 10.0.0.0/8'),
  'addresses or ranges such as 10.0.0.0/8',
)

export const SETTINGS = {
  organisation: that(
    isOrganisation,
    'a short name: lower-case letters, digits and -, at most 63 characters',
  ).optional(),
  public_url: origin(['http:', 'https:'], 'https://keyman.example.com').optional(),
  data_folder: path.optional(),
  host_suffixes: list(
    that(
      value => isHostName(value) && value.includes('.'),
      'a DNS suffix of at least two labels such as prod.example.com',
    ),
    'DNS suffixes such as prod.example.com',
  )
    .min(1, 'must name at least one suffix')
    .optional(),
  trusted_proxies: ranges.optional(),
  'pages.listen': listen.optional(),
  'pages.proxy_protocol_from': ranges.optional(),
  'pages.tls_certificate': path.optional(),
  'pages.tls_key': path.optional(),
  'machines.listen': listen.optional(),
  'machines.proxy_protocol_from': ranges.optional(),
  'machines.url': origin(['https:'], 'https://keyman.example.com:4443').optional(),
  'machines.names': list(
    that(value => isHostName(value) || isAddress(value), 'an exact DNS name or an IP address'),
    'exact DNS names or IP addresses',
  )
    .min(1, 'must name at least one name')
    .optional(),
  'limits.strangers_per_minute': perMinute.optional(),
  'limits.assertions_per_minute': perMinute.optional(),
  'limits.callers_per_minute': perMinute.optional(),
  'session.max_lifetime': duration(300, 30 * 86_400, '5m to 30d').optional(),
  'certificate.default_lifetime': duration(60, 7 * 86_400, '1m to 7d').optional(),
  'authority.algorithm': z.enum(['ed25519', 'ecdsa-p256'], { error: 'must be "ed25519" or "ecdsa-p256"' }).optional(),
  'trust.root_fingerprint': that(
    value => /^SHA256:[A-Za-z0-9+/]{43}$/.test(value),
    'the fingerprint of the root of trust, such as `keyman trust show` prints it (SHA256:…)',
  ).optional(),
  'database.url': postgresUrl.optional(),
  'database.migration_url': postgresUrl.optional(),
  'database.password_file': path.optional(),
  'database.migration_password_file': path.optional(),
  ...keystoreSettings,
  'keystore.standby.kind': kind.optional(),
  'keystore.standby.module': keystoreSettings['keystore.module'],
  'keystore.standby.token': keystoreSettings['keystore.token'],
  'keystore.standby.pin': keystoreSettings['keystore.pin'],
  'keystore.standby.pin_file': path.optional(),
  'keystore.standby.sessions': sessions.optional(),
  'keystore.standby.library_parameters': keystoreSettings['keystore.library_parameters'],
  'keystore.standby.key_file': path.optional(),
  'keystore.standby.passphrase_file': path.optional(),
  'keystore.standby.credential': keystoreSettings['keystore.credential'],
} as const

export const settingsSchema = z.strictObject(SETTINGS)
export type Settings = z.infer<typeof settingsSchema>
export const SETTING_PATHS = Object.keys(SETTINGS)
/** Values that no message repeats; in the file they are refused. */
export const SECRET_SETTINGS: ReadonlySet<string> = new Set(['keystore.pin', 'keystore.standby.pin'])
/** May hold a password: not repeated either, and refused in the file if it does. */
export const URL_SETTINGS: ReadonlySet<string> = new Set(['database.url', 'database.migration_url'])
const LISTS: ReadonlySet<string> = new Set([
  'host_suffixes',
  'trusted_proxies',
  'pages.proxy_protocol_from',
  'machines.proxy_protocol_from',
  'machines.names',
])
const NUMBERS: ReadonlySet<string> = new Set([
  'keystore.sessions',
  'keystore.standby.sessions',
  'limits.strangers_per_minute',
  'limits.assertions_per_minute',
  'limits.callers_per_minute',
])

export const variableOf = (path: string): string => `KEYMAN_${path.toUpperCase().replaceAll('.', '_')}`

/** A variable's text as the value that the file would hold: lists are separated by commas. */
export function valueOfVariable(path: string, value: string): unknown {
  if (LISTS.has(path))
    return value
      .split(',')
      .map(item => item.trim())
      .filter(item => item !== '')
  if (NUMBERS.has(path)) return /^[0-9]{1,9}$/.test(value) ? Number(value) : value
  return value
}
