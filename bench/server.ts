import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { parseLogin } from '#shared/names.ts'
import { type ApiSession, enrol, logIn, type Target } from '#test/support/people/api-person.ts'
import { startPostgres } from '#test/support/programs/postgres.ts'
import { startServerProcess } from '#test/support/programs/server-process.ts'
import { startSoftHsm } from '#test/support/programs/softhsm.ts'
import type { KeystoreSettings } from './keystore-loop.ts'

export type Algorithm = 'ed25519' | 'ecdsa-p256'

/** The bundled server with PostgreSQL that syncs each commit and SoftHSM, an administrator and a grant. */
export type BenchServer = Target & {
  readonly pid: number
  readonly databasePid: number
  readonly keystore: KeystoreSettings
  /** The administrator's session. */
  readonly owner: ApiSession
  /** Where the server's folders are, for a CLI on the same machine. */
  readonly folder: string
  readonly env: NodeJS.ProcessEnv
  /** Gives the link for somebody's first passkey. */
  invite(identity: string): Promise<string>
  /** Gives somebody who is enrolled a login on some hosts. */
  grant(identity: string): Promise<void>
  close(): Promise<void>
}

const root = join(import.meta.dirname, '..')

/** `nodeArguments`: such as `--cpu-prof`, for whoever looks for what is slow. */
export async function startBenchServer(
  algorithm: Algorithm,
  nodeArguments: readonly string[] = [],
): Promise<BenchServer> {
  const postgres = await startPostgres()
  const hsm = await startSoftHsm('keyman-bench')
  const { module, token, pin } = hsm
  const server = await startServerProcess({
    program: [...nodeArguments, join(root, 'dist', 'keyman-server.mjs')],
    env: {
      KEYMAN_DATABASE_URL: postgres.url,
      KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl,
      KEYMAN_KEYSTORE_KIND: 'pkcs11',
      KEYMAN_KEYSTORE_MODULE: module,
      KEYMAN_KEYSTORE_TOKEN: token,
      KEYMAN_KEYSTORE_PIN: pin,
      KEYMAN_AUTHORITY_ALGORITHM: algorithm,
      // All requests come from one address.
      KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '1000000',
      KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000000',
      KEYMAN_LIMITS_CALLERS_PER_MINUTE: '1000000',
      ...hsm.env,
    },
  })
  const target = { pagesUrl: server.pagesUrl, machinesUrl: server.machinesUrl }
  const person = await enrol(target, server.ownerLink(), 'admin@example.com')
  const owner = await logIn(target, person)
  const grant = async (who: string) => {
    const options = { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false }
    const hosts = { labels: { env: 'bench' } }
    await call(owner.connection, api.grants.add, {
      body: {
        kind: 'login',
        who,
        login: parseLogin(userInfo().username, 'login'),
        hosts,
        maxLifetime: 8 * 3600,
        options,
      },
    })
  }
  await grant(person.identity)
  return {
    ...target,
    pid: server.pid,
    databasePid: Number(readFileSync(join(postgres.folder, 'data', 'postmaster.pid'), 'utf8').split('\n', 1)[0]),
    keystore: { module, token, pin },
    owner,
    folder: server.folder,
    env: server.env,
    async invite(identity) {
      const { link } = await call(owner.connection, api.persons.invite, {
        body: { identity, owner: false, lifetime: 3600 },
      })
      return link
    },
    grant,
    async close() {
      await server.close()
      await hsm.close()
      await postgres.close()
    },
  }
}
