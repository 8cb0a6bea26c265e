import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { api } from '#shared/api/index.ts'
import { addressKey } from '#shared/ip-address.ts'
import type { Services } from './compose.ts'
import { createApp, type Gate } from './http/app.ts'
import { byOf } from './http/caller.ts'
import { type AccessLine, startMachinesListener, startPagesListener } from './http/connections/listeners.ts'
import { createRateLimiter } from './http/connections/rate-limit.ts'
import type { Handled } from './http/handle.ts'
import { openApiDocument } from './http/openapi.ts'
import { accessRoutes } from './http/routes/access.ts'
import { auditRoutes } from './http/routes/audit.ts'
import { enrolmentRoutes } from './http/routes/enrolment.ts'
import { grantRoutes } from './http/routes/grants.ts'
import { healthRoutes } from './http/routes/health.ts'
import { hostStream, STREAMS_PER_HOST } from './http/routes/host-stream.ts'
import { hostRoutes } from './http/routes/hosts.ts'
import { loginRoutes } from './http/routes/login.ts'
import { hostLoginRoutes } from './http/routes/logins.ts'
import { passkeyRoutes } from './http/routes/passkeys.ts'
import { personRoutes } from './http/routes/persons.ts'
import { projectRoutes } from './http/routes/projects.ts'
import { revocationRoutes } from './http/routes/revocations.ts'
import { sessionRoutes, sessionsRoutes } from './http/routes/sessions.ts'
import { signInRoutes } from './http/routes/sign-in.ts'
import { sshRoutes } from './http/routes/ssh.ts'
import { actionRoutes, mandateRoutes } from './http/routes/touches.ts'
import { trustRoutes } from './http/routes/trust.ts'
import { workloadRoutes } from './http/routes/workloads.ts'
import { serveStatic } from './http/static.ts'
import type { Log } from './log.ts'
import { readPagesCertificate } from './pages-certificate.ts'

export type Listening = {
  readonly pages: { readonly host: string; readonly port: number }
  readonly machines: { readonly host: string; readonly port: number }
  /** Reads the pages' certificate files anew. */
  reload(): void
  /** Stops accepting, lets running requests end. */
  close(): Promise<void>
}

/** Puts both listeners in front of the services. */
export async function listen(services: Services, log: Log): Promise<Listening> {
  const { config, authority, identity } = services
  const handled = allHandled(services)
  const { strangersPerMinute, callersPerMinute } = config.limits
  const strangers = createRateLimiter({
    burst: Math.ceil(strangersPerMinute / 2),
    perMinute: strangersPerMinute,
    now: () => performance.now(),
  })
  const callers = createRateLimiter({
    burst: callersPerMinute,
    perMinute: callersPerMinute,
    now: () => performance.now(),
  })
  const onInternalError = (error: unknown, requestId: string) => log.error(`request ${requestId} failed`, error)
  const common = { handled, gate: gate(services), strangers, callers, onInternalError }
  let draining = false
  const health = healthRoutes({
    checks: {
      database: () => services.store.ping(),
      // That of the keys which sign now: after a switch the other may be lost.
      keystore: () => services.authority.ready(),
      // Nothing is recorded, so nothing issued, once the log is not what it was.
      log: async () => services.ledger.assertFresh(),
    },
    now: () => performance.now(),
    draining: () => draining,
    onFailure: (check, error) => log.error(`the check of the ${check} fails`, error),
  })
  const document = JSON.stringify(
    openApiDocument({
      version: process.env.KEYMAN_VERSION ?? '0.1.0',
      machinesUrl: config.machines.url,
      pagesUrl: config.publicUrl,
    }),
  )
  const app = (listener: 'pages' | 'machines') => {
    const made = createApp({ ...common, listener })
    made.route('/', health)
    made.get('/v1/openapi.json', c => c.body(document, 200, { 'content-type': 'application/json' }))
    return made
  }

  const pagesApp = app('pages')
  serveStatic(pagesApp, pagesFolder())
  const { tls } = config.pages
  const proxies = {
    trustedProxies: config.trustedProxies,
    strangers,
    log: refusalLog(log),
  }
  const pages = await startPagesListener({
    ...proxies,
    listen: config.pages.listen,
    proxyProtocolFrom: config.pages.proxyProtocolFrom,
    publicUrl: config.publicUrl,
    app: pagesApp,
    onInternalError,
    ...(tls ? { tls: () => readPagesCertificate(tls) } : {}),
  })
  try {
    const roots = authority.machineRoots()
    let pair = await authority.serverCertificate(config.machines.names, renewed => {
      pair = renewed
      machines.renew(authority.machineRoots())
    })
    const machines = await startMachinesListener({
      ...proxies,
      listen: config.machines.listen,
      proxyProtocolFrom: config.machines.proxyProtocolFrom,
      publicUrl: config.publicUrl,
      tls: () => ({ cert: pair.certificate, key: pair.key }),
      clientRoots: roots,
      app: app('machines'),
      onInternalError,
      onUpgrade: hostStream({
        hosts: services.hosts,
        strangers,
        streams: createRateLimiter({ ...STREAMS_PER_HOST, now: () => performance.now() }),
        callerFromClientCertificate: (der, authorized) => identity.callerFromClientCertificate(der, authorized),
        ring: (key, at) => services.workloads.ring(key, at),
      }),
    })
    const stopHearing = authority.onChange(() => machines.renew(authority.machineRoots()))
    // One may have come while the listener was started.
    if (authority.machineRoots() !== roots) machines.renew(authority.machineRoots())
    return {
      pages: pages.address,
      machines: machines.address,
      reload: () => pages.renew(),
      async close() {
        draining = true
        stopHearing()
        await services.hosts.stop()
        await Promise.all([pages.close(), machines.close()])
      },
    }
  } catch (error) {
    await pages.close(0)
    throw error
  }
}

/**
 * What was served stands in the audit log where it matters; what was refused is told here: a few a minute of each address, and
 * so many in all, with how many were left out, since strangers can cause any number.
 */
function refusalLog(log: Log): (line: AccessLine) => void {
  const now = () => performance.now()
  const perAddress = createRateLimiter({ burst: 60, perMinute: 60, now })
  const inAll = createRateLimiter({ burst: 600, perMinute: 600, now })
  let leftOut = 0
  return line => {
    // A touch that is asked for is no refusal: who confirms it is in the log, and who never does has changed nothing.
    if (line.status < 400 || line.code === 'assertion-required') return
    try {
      perAddress.take(addressKey(line.from))
      inAll.take('all')
    } catch {
      leftOut++
      return
    }
    log.info('refused', leftOut === 0 ? line : { ...line, leftOut })
    leftOut = 0
  }
}

/** Every route of the contract with what serves it; one that nobody serves is a mistake that stops the start. */
export function allHandled(services: Services): Handled[] {
  const handled = [
    ...loginRoutes(services),
    ...sessionRoutes(services),
    ...sessionsRoutes(services),
    ...signInRoutes(services),
    ...enrolmentRoutes(services),
    ...passkeyRoutes(services),
    ...actionRoutes(services),
    ...sshRoutes(services),
    ...personRoutes(services),
    ...grantRoutes(services),
    ...projectRoutes(services),
    ...accessRoutes(services),
    ...revocationRoutes(services),
    ...mandateRoutes(services),
    ...hostRoutes(services),
    ...hostLoginRoutes(services),
    ...workloadRoutes(services),
    ...auditRoutes(services),
    ...trustRoutes(services),
  ]
  const served = new Set(handled.map(({ route }) => route))
  for (const routes of Object.values<Record<string, unknown>>(api))
    for (const [name, route] of Object.entries(routes))
      if (![...served].some(known => known === route)) throw new Error(`no handler for the route ${name}`)
  return handled
}

function gate({ identity, access, store, workloads }: Services): Gate {
  return {
    callerFromClientCertificate: (der, authorized, renews) =>
      identity.callerFromClientCertificate(der, authorized, renews),
    ring: (key, at) => workloads.ring(key, at),
    callerFromCookie: cookie => identity.callerFromCookie(cookie),
    touches: identity.touches,
    store,
    may: (caller, want) => access.may(caller, want),
    requireRole: (caller, wants, request) => access.requireRole(caller, wants, byOf(request)),
  }
}

/** Where the built pages lie: beside the bundled server, or in `dist/` where the sources run. */
function pagesFolder(): string {
  const bundled = join(import.meta.dirname, 'web', 'index.html')
  const built = existsSync(bundled) && !readFileSync(bundled, 'utf8').includes('/main.js')
  return built ? join(import.meta.dirname, 'web') : join(import.meta.dirname, '..', 'dist', 'web')
}
