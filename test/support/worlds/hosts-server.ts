import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compose, type Services } from '#server/compose.ts'
import { loadConfig } from '#server/config/index.ts'
import { createApp, type Gate } from '#server/http/app.ts'
import { startMachinesListener } from '#server/http/connections/listeners.ts'
import { createRateLimiter } from '#server/http/connections/rate-limit.ts'
import { handle } from '#server/http/handle.ts'
import { hostStream } from '#server/http/routes/host-stream.ts'
import { hostRoutes } from '#server/http/routes/hosts.ts'
import { hostLoginRoutes } from '#server/http/routes/logins.ts'
import { trustRoutes } from '#server/http/routes/trust.ts'
import { createLog } from '#server/log.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { freePort } from '../free-port.ts'
import { newPGlite } from '../programs/templates.ts'

export type HostsServer = {
  readonly services: Services
  readonly url: string
  /** Makes the server's clock run ahead, by milliseconds. */
  setClock(ahead: number): void
  /** What the server said to its operator. */
  readonly said: () => string
  /** What an administrator or the server itself does: a request ID of its own. */
  by(): { actor: { kind: 'server' }; requestId: string }
  /** The listener alone goes away and comes back: what hosts see of a restart. */
  unplug(): Promise<void>
  plug(): Promise<void>
  close(): Promise<void>
}

/** The real server's services (PGlite, software keystore) behind the machines' listener, with what hosts call. */
export async function startHostsServer(other: Readonly<Record<string, string>> = {}): Promise<HostsServer> {
  const dataFolder = mkdtempSync(join(tmpdir(), 'keyman-hosts-'))
  const port = await freePort()
  const url = `https://localhost:${port}`
  const env = {
    KEYMAN_DATA_FOLDER: dataFolder,
    KEYMAN_ORGANISATION: 'acme',
    KEYMAN_MACHINES_LISTEN: `127.0.0.1:${port}`,
    KEYMAN_MACHINES_URL: url,
    ...other,
  }
  let said = ''
  let ahead = 0
  const config = loadConfig({ env, home: dataFolder })
  const log = createLog({
    write: text => {
      said += text
    },
  })
  if (config.database.engine === 'pglite') await newPGlite(config.database.folder)
  const services = await compose({ config, log, now: () => new Date(Date.now() + ahead) })
  const { authority, identity } = services
  const gate: Gate = {
    callerFromClientCertificate: (der, authorized) => identity.callerFromClientCertificate(der, authorized),
    ring: (key, at) => services.workloads.ring(key, at),
    callerFromCookie: cookie => identity.callerFromCookie(cookie),
    requireRole: () => Promise.reject(new KeymanError('denied', 'no person is here')),
    may: () => false,
    touches: identity.touches,
    store: services.store,
  }
  const onInternalError = (error: unknown) => log.error('request failed', error)
  const strangers = createRateLimiter({ burst: 1000, perMinute: 1000, now: () => performance.now() })
  const app = createApp({
    listener: 'machines',
    handled: [
      handle(api.login.challenge, async () => ({ challenge: identity.proofs.challenge() })),
      ...trustRoutes(services),
      ...hostRoutes(services),
      ...hostLoginRoutes(services),
    ],
    gate,
    strangers,
    callers: strangers,
    onInternalError,
  })
  const pair = await authority.serverCertificate(config.machines.names, () => undefined)
  const listen = () =>
    startMachinesListener({
      listen: config.machines.listen,
      publicUrl: config.publicUrl,
      tls: () => ({ cert: pair.certificate, key: pair.key }),
      clientRoots: authority.trusted().machines.map(root => root.certificate),
      app,
      strangers,
      onInternalError,
      onUpgrade: hostStream({
        hosts: services.hosts,
        strangers,
        // One host opens more of them here in a minute than it may: `test/attacks/host-bounds.test.ts` holds the bound itself.
        streams: createRateLimiter({ burst: 1000, perMinute: 1000, now: () => performance.now() }),
        callerFromClientCertificate: (der, authorized) => identity.callerFromClientCertificate(der, authorized),
        ring: (key, at) => services.workloads.ring(key, at),
      }),
    })
  let listener: Awaited<ReturnType<typeof listen>> | undefined = await listen()
  const unplug = async () => {
    await listener?.close(0)
    listener = undefined
  }
  return {
    services,
    url,
    said: () => said,
    setClock(milliseconds) {
      ahead = milliseconds
    },
    by: () => ({ actor: { kind: 'server' }, requestId: `req_${randomBytes(9).toString('base64url')}` }),
    unplug,
    async plug() {
      listener ??= await listen()
    },
    async close() {
      await unplug()
      await services.close()
      rmSync(dataFolder, { recursive: true, force: true })
    },
  }
}
