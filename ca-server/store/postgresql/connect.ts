import { readFileSync } from 'node:fs'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import pg from 'pg'
import { type DatabaseUrl, parseDatabaseUrl } from '#server/config/index.ts'
import { invalid } from '#shared/errors.ts'
import { classify, hasNoTls, StoreError } from '../errors.ts'

/** How long making one connection may take, and the wait for a free one. */
export const CONNECT_DEADLINE_MS = 5_000

/** One host of a connection string: `pg` knows one, we want the primary among several. */
export type Target = DatabaseUrl & { readonly host: string; readonly port: number }

/** Throws `invalid-input` without showing the string: it holds a password. */
export function targetsOf(url: string, field: string): readonly Target[] {
  try {
    const parsed = parseDatabaseUrl(url)
    return parsed.hosts.map(({ host, port }) => ({ ...parsed, host, port }))
  } catch (error) {
    throw invalid(field, error instanceof Error ? error.message : 'is no connection string')
  }
}

// Object identifiers of pg_type, which never change: see pg_type.dat in PostgreSQL's source.
const BYTEA = 17
const INT8 = 20
const INT8_ARRAY = 1016

/** Text of a value to what `port.ts` promises; the rest as `pg` does it. */
const types: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === INT8) return BigInt
    if (oid === BYTEA) return (text: string) => Uint8Array.fromHex(text.slice(2))
    if (oid === INT8_ARRAY) return (text: string) => (text === '{}' ? [] : text.slice(1, -1).split(',').map(BigInt))
    return pg.types.getTypeParser(oid, format)
  },
}

const clientConfig = (
  { host, port, user, password, database }: Target,
  ssl: pg.ClientConfig['ssl'],
): pg.ClientConfig => ({
  host,
  port,
  ...(user === undefined ? {} : { user }),
  ...(password === undefined ? {} : { password }),
  ...(database === undefined ? {} : { database }),
  ssl,
  application_name: 'keyman-server',
  connectionTimeoutMillis: CONNECT_DEADLINE_MS,
  keepAlive: true,
  types,
})

/**
 * What libpq does for each `sslmode`, as one or two ways to be tried in turn: `prefer` goes on without TLS where the server
 * has none. A certificate is compared with the host that was configured: `pg` names none for an address.
 */
function tlsOf({ host, sslmode, sslrootcert, sslcert, sslkey }: Target): readonly pg.ClientConfig['ssl'][] {
  if (host.startsWith('/') || sslmode === 'disable') return [false]
  const ca = sslrootcert === undefined || sslrootcert === 'system' ? undefined : readFileSync(sslrootcert, 'utf8')
  const checksName = sslmode === 'verify-full'
  // With an authority named, `require` means what verify-ca says: so it was once documented, and so libpq keeps it.
  const checksChain = checksName || sslmode === 'verify-ca' || (sslmode === 'require' && ca !== undefined)
  const tls = {
    rejectUnauthorized: checksChain,
    checkServerIdentity: (_: string, certificate: PeerCertificate) =>
      checksName ? checkServerIdentity(host, certificate) : undefined,
    ...(ca === undefined ? {} : { ca }),
    ...(sslcert === undefined ? {} : { cert: readFileSync(sslcert, 'utf8') }),
    ...(sslkey === undefined ? {} : { key: readFileSync(sslkey, 'utf8') }),
  }
  return sslmode === 'prefer' ? [tls, false] : [tls]
}

// Not as a startup parameter (`options`): poolers refuse that. Statements outside of transactions count on it too: a stricter
// default of the database would make them fail and retry.
const SET_UP = `set default_transaction_isolation = 'read committed'; set bytea_output = 'hex';
  select pg_is_in_recovery() as standby`

/** Throws where the server is a standby: after a failover the old primary may come back as one. */
async function prepare(client: pg.ClientBase): Promise<void> {
  const results: unknown = await client.query(SET_UP)
  const last: unknown = Array.isArray(results) ? results.at(-1)?.rows?.[0]?.standby : undefined
  if (last !== false) throw new StoreError('retryable', 'the database is a standby', { code: '25006' })
}

async function connect(target: Target): Promise<pg.Client> {
  const ways = tlsOf(target)
  for (const [n, ssl] of ways.entries()) {
    const client = new pg.Client(clientConfig(target, ssl))
    // Without a listener a lost connection would end the process; whoever uses the client hears of it by its call.
    client.on('error', () => {})
    try {
      await client.connect()
      await prepare(client)
      return client
    } catch (error) {
      client.end().catch(() => {})
      if (!hasNoTls(error) || n + 1 === ways.length) throw error
    }
  }
  throw new Error('no way to connect was given')
}

/** Connects to the first of the hosts that is a primary; the error is the last host's. */
export async function connectPrimary(targets: readonly Target[]): Promise<pg.Client> {
  let last: unknown
  for (const target of targets) {
    try {
      return await connect(target)
    } catch (error) {
      last = classify(error, 'connecting', target)
    }
  }
  throw last
}
