import pg from 'pg'
import { invalid } from '#shared/errors.ts'
import { StoreError } from './errors.ts'

/** How long making one connection may take, and the wait for a free one. */
export const CONNECT_DEADLINE_MS = 5_000

/**
 * The hosts of a connection string, each as a string of its own: `pg` knows one host, we want the primary among several.
 * Throws `invalid-input` without showing the string: it holds a password.
 */
export function splitHosts(url: string, field: string): [string, ...string[]] {
  const parts = /^(postgres(?:ql)?:\/\/(?:[^@/]*@)?)([^@/?]*)(\/[^?]*)?(\?.*)?$/.exec(url)
  const [first, ...others] = (parts?.[2] ?? '').split(',').map(host => {
    const one = `${parts?.[1] ?? ''}${host}${parts?.[3] ?? ''}${parts?.[4] ?? ''}`
    if (!parts || (host !== '' && !URL.canParse(one)))
      throw invalid(field, 'this is not a connection string such as postgresql://user@host:5432/database')
    return one
  })
  return [first ?? url, ...others]
}

/** The user name of a connection string, decoded. */
export const userOf = (url: string): string =>
  decodeURIComponent(/^postgres(?:ql)?:\/\/([^:@/]*)(?::[^@/]*)?@/.exec(url)?.[1] ?? '')

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

export const clientConfig = (url: string): pg.ClientConfig => ({
  connectionString: url,
  application_name: 'keyman-server',
  connectionTimeoutMillis: CONNECT_DEADLINE_MS,
  keepAlive: true,
  types,
  // Statements outside transactions count on it too: a stricter default of the database would make them fail and retry.
  options: '-c default_transaction_isolation=read\\ committed -c bytea_output=hex',
})

/** Throws where the server is a standby: after a failover the old primary may come back as one. */
export async function assertPrimary(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query('select pg_is_in_recovery() as standby')
  if (rows[0]?.standby !== false) throw new StoreError('retryable', 'the database is a standby', { code: '25006' })
}

/** Connects to the first of the hosts that is a primary; the error is the last host's. */
export async function connectPrimary(urls: readonly string[]): Promise<pg.Client> {
  let last: unknown
  for (const url of urls) {
    const client = new pg.Client(clientConfig(url))
    // Without a listener a lost connection would end the process; whoever uses the client hears of it by its call.
    client.on('error', () => {})
    try {
      await client.connect()
      await assertPrimary(client)
      return client
    } catch (error) {
      last = error
      client.end().catch(() => {})
    }
  }
  throw last
}
