/**
 * Pure: a connection string as PostgreSQL's own clients read it (libpq, section 'Connection URIs'), in parts. Our own reader,
 * because that of `pg` takes another meaning of `sslmode`, passes over what it does not know, and knows one host.
 */
import { parseIpAddress } from '#shared/ip-address.ts'

/** As libpq has them, from no TLS to a certificate that is good for the host's name. */
export const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
export type SslMode = (typeof SSL_MODES)[number]

export type DatabaseUrl = {
  /** A name, an address, or the folder of a Unix socket; several where the primary is one of them. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[]
  readonly user: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
  readonly sslmode: SslMode
  /** Files; `system` for the authorities that Node knows. */
  readonly sslrootcert: string | undefined
  readonly sslcert: string | undefined
  readonly sslkey: string | undefined
}

const EXAMPLE = 'postgresql://keyman@db.example.com/keyman'
const PARAMETERS = [
  'host',
  'port',
  'user',
  'password',
  'dbname',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'target_session_attrs',
] as const
type ParameterName = (typeof PARAMETERS)[number]
const isParameter = (name: string): name is ParameterName => PARAMETERS.some(known => known === name)

/** Throws an Error whose message goes on after the name of the setting, and holds no value but a parameter's name or mode. */
export function parseDatabaseUrl(text: string): DatabaseUrl {
  const parts = /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?([^@/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(
    text,
  )
  if (!parts) throw new Error(`must be an address such as ${EXAMPLE}`)
  const [, user, password, authority = '', path, query = ''] = parts
  const given = parametersOf(query)
  const sslmode = given.get('sslmode') ?? 'prefer'
  if (!isMode(sslmode)) throw new Error(`knows the sslmode ${SSL_MODES.join(', ')}, and no other`)
  const sslrootcert = fileOf(given, 'sslrootcert', ['system'])
  if (sslmode === 'verify-ca' && (sslrootcert === undefined || sslrootcert === 'system'))
    throw new Error('with sslmode=verify-ca needs sslrootcert, the certificate of the authority that is believed')
  const attributes = given.get('target_session_attrs') ?? 'primary'
  if (!['any', 'read-write', 'primary'].includes(attributes))
    throw new Error('must lead to a primary: target_session_attrs=primary, or none')
  const sslcert = fileOf(given, 'sslcert')
  const sslkey = fileOf(given, 'sslkey')
  if ((sslcert === undefined) !== (sslkey === undefined)) throw new Error('needs sslcert and sslkey, or neither')
  return {
    hosts: hostsOf(authority, given),
    user: (user ? decoded(user) : undefined) ?? given.get('user'),
    password: (password ? decoded(password) : undefined) ?? given.get('password'),
    database: (path ? decoded(path) : undefined) ?? given.get('dbname'),
    sslmode,
    sslrootcert,
    sslcert,
    sslkey,
  }
}

/** Whether a password stands in it. */
export const holdsPassword = (text: string): boolean => {
  try {
    return parseDatabaseUrl(text).password !== undefined
  } catch {
    return /^[a-z]+:\/\/[^@/]*:[^@/]*@|[?&]password=/.test(text)
  }
}

/** The same with a password put in, where none stands in it. */
export function withPassword(text: string, password: string): string {
  const [, scheme, user = '', rest] = /^([a-z]+:\/\/)(?:([^:@/?#]*)@)?(.*)$/.exec(text) ?? []
  if (scheme === undefined || rest === undefined) throw new Error(`must be an address such as ${EXAMPLE}`)
  return `${scheme}${user}:${encodeURIComponent(password)}@${rest}`
}

function parametersOf(query: string): ReadonlyMap<ParameterName, string> {
  const given = new Map<ParameterName, string>()
  for (const part of query.split('&').filter(each => each !== '')) {
    const at = part.indexOf('=')
    const name = decoded(part.slice(0, Math.max(0, at)))
    if (!isParameter(name)) throw new Error(`takes the parameters ${PARAMETERS.join(', ')} after its ?, and no other`)
    if (given.has(name)) throw new Error(`names ${name} twice`)
    const value = decoded(part.slice(at + 1))
    if (value !== '') given.set(name, value)
  }
  return given
}

const isMode = (mode: string): mode is SslMode => SSL_MODES.some(known => known === mode)

/** A relative path would be another file in another folder. */
function fileOf(given: ReadonlyMap<ParameterName, string>, name: ParameterName, words: readonly string[] = []) {
  const value = given.get(name)
  if (value === undefined || value.startsWith('/') || words.includes(value)) return value
  throw new Error(`must name an absolute path as ${name}`)
}

function hostsOf(authority: string, given: ReadonlyMap<ParameterName, string>): DatabaseUrl['hosts'] {
  const named = given.get('host')
  if (authority !== '' && named !== undefined) throw new Error('names its host twice: before the / and as host=')
  const ports = given.get('port')?.split(',') ?? []
  const list = (authority || named || '').split(',')
  if (list.length === 1 && list[0] === '')
    throw new Error('must name a host, or the folder of its socket: postgresql://keyman@/keyman?host=/run/postgresql')
  if (ports.length > 1 && ports.length !== list.length) throw new Error('must name one port, or one for each host')
  return list.map((text, n) => {
    const [, v6, plain, ownPort] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*))(?::([0-9]*))?$/.exec(text) ?? []
    // In `host=` an IPv6 address stands bare, and a port apart.
    const bare = authority === '' ? text : undefined
    const host = bare ?? v6 ?? decoded(plain ?? '')
    const port = (bare === undefined && ownPort) || (ports.length > 1 ? ports[n] : ports[0]) || '5432'
    if (!/^[0-9]{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535)
      throw new Error('must name a port of 1 to 65535')
    if (!host.startsWith('/') && !/^[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})$/.test(host) && !parseIpAddress(host))
      throw new Error(`must name its host as a DNS name, an address or the folder of a socket, as in ${EXAMPLE}`)
    return { host, port: Number(port) }
  })
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Error('has a % that begins no escape: write %25 for it')
  }
}
