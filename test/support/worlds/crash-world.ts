import { createHash } from 'node:crypto'
import { readFileSync, truncateSync } from 'node:fs'
import { call } from '#cli/server/client.ts'
import { api, schemas } from '#shared/api/index.ts'
import { fromHex, toHex } from '#shared/bytes.ts'
import { type AuditedRecord, auditRecords, parseCheckpoint } from '#shared/merkle/index.ts'
import { type ApiSession, enrol, inviteAndEnrol, logIn } from '../people/api-person.ts'
import { buildShim, readSignatures, shimEnv, shimKeyId } from '../pkcs11-shim/index.ts'
import { startPostgres, type TestPostgres } from '../programs/postgres.ts'
import { type RenewingMachine, renewingMachine } from '../programs/renewing-machine.ts'
import { type ServerProcess, startServerProcess } from '../programs/server-process.ts'
import { startSoftHsm } from '../programs/softhsm.ts'

/** A real server with sessions that have a grant, for tests that end it, its keystore or its database. */
export type CrashWorld = {
  readonly server: ServerProcess
  /** The first is the administrator's. */
  readonly sessions: readonly [ApiSession, ...ApiSession[]]
  readonly machines: readonly RenewingMachine[]
  readonly postgres: TestPostgres | undefined
  /** Files of the counting PKCS#11 module; `undefined` with the software keystore. */
  readonly shim: { readonly log: string; readonly fault: string; readonly tokens: string } | undefined
  close(): Promise<void>
}

export type CrashSetUp = 'PGlite and the software keystore' | 'PostgreSQL and SoftHSM'

/** `machines` sessions, each of a person with a login on some host. */
export async function openCrashWorld(
  setUp: CrashSetUp,
  options: { machines?: number; env?: NodeJS.ProcessEnv } = {},
): Promise<CrashWorld> {
  const closing: (() => Promise<unknown>)[] = []
  const close = async () => {
    for (const end of closing.reverse()) await end()
  }
  try {
    const env: NodeJS.ProcessEnv = {
      KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '100000',
      KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000',
      KEYMAN_LIMITS_CALLERS_PER_MINUTE: '1000000',
      ...options.env,
    }
    let postgres: TestPostgres | undefined
    let shim: CrashWorld['shim']
    if (setUp === 'PostgreSQL and SoftHSM') {
      postgres = await startPostgres()
      closing.push(() => postgres?.close() ?? Promise.resolve())
      const hsm = await startSoftHsm()
      closing.push(() => hsm.close())
      const files = shimEnv(hsm.module, hsm.folder)
      shim = { log: files.KEYMAN_SHIM_LOG, fault: files.KEYMAN_SHIM_FAULT, tokens: `${hsm.folder}/tokens` }
      Object.assign(env, files, hsm.env, {
        KEYMAN_DATABASE_URL: postgres.url,
        KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl,
        KEYMAN_KEYSTORE_KIND: 'pkcs11',
        KEYMAN_KEYSTORE_MODULE: await buildShim(),
        KEYMAN_KEYSTORE_TOKEN: hsm.token,
        KEYMAN_KEYSTORE_PIN: hsm.pin,
      })
    }
    const server = await startServerProcess({ env })
    closing.push(() => server.close())
    const owner = await logIn(server, await enrol(server, server.ownerLink(), 'admin@example.com'))
    const bob = await inviteAndEnrol(server, owner, 'bob@example.com')
    for (const who of ['admin@example.com', 'bob@example.com'])
      await call(owner.connection, api.grants.add, {
        body: schemas.newGrant.parse({ who, login: 'deploy', hosts: { labels: { env: 'prod' } } }),
      })
    const sessions: [ApiSession, ...ApiSession[]] = [await logIn(server, owner.person)]
    for (let n = 1; n < (options.machines ?? 6); n++) sessions.push(await logIn(server, n % 2 ? bob : owner.person))
    const machines = sessions.map(renewingMachine)
    closing.push(async () => {
      for (const machine of machines) machine.close()
    })
    return { server, sessions, machines, postgres, shim, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** A certificate's record, as far as these tests look at it. */
export type CertificateRecord = {
  readonly kind: string
  readonly authority: string
  readonly serial: string
  readonly bodyHash: string
}
export type WholeLedger = {
  readonly size: bigint
  readonly kinds: readonly string[]
  /** Those that say that something may be signed. */
  readonly certificates: readonly CertificateRecord[]
}

/** The whole log over the API, held against its newest checkpoint: throws where it is not whole. */
export async function readLedger({ connection }: ApiSession): Promise<WholeLedger> {
  const { checkpoint } = await call(connection, api.auditTrail.checkpoint)
  const head = parseCheckpoint(checkpoint)
  const all: AuditedRecord[] = []
  while (BigInt(all.length) < head.size) {
    const query = { from: String(all.length), limit: 1000 }
    const { records } = await call(connection, api.auditTrail.list, { query, deadline: 30_000 })
    for (const { index, record, leafHash } of records)
      if (BigInt(index) < head.size) all.push({ index: BigInt(index), record, leafHash: fromHex(leafHash) })
    if (records.length === 0) break
  }
  const audit = await auditRecords(all, [{ name: 'the newest checkpoint', ...head }])
  if (!audit.ok) throw new Error(audit.message)
  const parsed: { kind: string; certificate?: Omit<CertificateRecord, 'kind'> }[] = all.map(({ record }) =>
    JSON.parse(record),
  )
  return {
    size: head.size,
    kinds: parsed.map(({ kind }) => kind),
    certificates: parsed.flatMap(({ kind, certificate }) => (certificate ? [{ kind, ...certificate }] : [])),
  }
}

/**
 * The signatures by authority keys that the module itself has counted: everything but what the log key and the keystore's
 * own probe signed. `bodyHash`: C_Sign gets the body for Ed25519, its SHA-256 for P-256.
 */
export async function authoritySignatures(
  log: string,
  authorities: Iterable<string>,
): Promise<readonly { readonly authority: string; readonly bodyHash: string }[]> {
  const others = ['log-1', 'health'].map(shimKeyId)
  const labels = new Map([...authorities].map(label => [shimKeyId(label), label]))
  return (await readSignatures(log)).flatMap(({ keyId, data }) => {
    const id = toHex(keyId)
    if (others.includes(id)) return []
    const authority = labels.get(id) ?? `an unknown key ${id}`
    return [{ authority, bodyHash: toHex(authority.startsWith('machines-') ? data : sha256(data)) }]
  })
}

/**
 * A line that `kill -9` cut off: the write was in the middle of two pages, so C_Sign has not returned and nobody has that
 * signature. To be called while no server runs.
 */
export function dropTornLine(log: string): void {
  const bytes = readFileSync(log)
  truncateSync(log, bytes.lastIndexOf('\n') + 1)
}

export const sha256 = (data: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(data).digest())
