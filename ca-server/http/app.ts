import type { Context, Hono, MiddlewareHandler } from 'hono'
import { getCookie } from 'hono/cookie'
import type { Want } from '#server/access/index.ts'
import { type Caller, type Consent, type Role, SupersededKey, type Touches } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { ACTIONS, actionWords, type Listener, type Route } from '#shared/api/index.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { addressKey } from '#shared/ip-address.ts'
import { requestText } from '#shared/login-challenge.ts'
import { clientCertificate } from './connections/client-certificate.ts'
import type { RateLimiter } from './connections/rate-limit.ts'
import { newApp, type OnInternalError } from './edge.ts'
import type { Handled, RawRequest } from './handle.ts'
import { readJsonBody } from './read-json.ts'
import { type EdgeEnv, noteCaller, requestInfo } from './request-info.ts'

/** What the edge asks of the rooms behind it about each request. */
export type Gate = {
  /** Throws `not-signed-in` or `unavailable`; checks the certificate's end, authority and revocation on this very request. */
  callerFromClientCertificate(der: Uint8Array, chainAuthorized: boolean, renews: boolean): Caller | Promise<Caller>
  /** See `workloads.ring`. */
  ring(key: SupersededKey, at: Pick<RawRequest, 'requestId' | 'from'>): Promise<void>
  callerFromCookie(cookie: string): Promise<Caller>
  /** See `access.requireRole`. */
  requireRole(caller: Caller, wants: () => readonly Want[], request: RawRequest): Promise<Role>
  /** See `access.may`. */
  may(caller: Caller, want: Want): boolean
  /** See `identity.touches`. */
  readonly touches: Pick<Touches, 'require' | 'keepAnswer' | 'digest'>
  /** What is shown of a request is read by it. */
  readonly store: Queryable
}

export type AppOptions = {
  readonly listener: Listener
  readonly handled: readonly Handled[]
  readonly gate: Gate
  /** By address: for routes that anyone may call, before the body is read, and for every caller who is not known. */
  readonly strangers: Pick<RateLimiter, 'take'>
  /** By session or host: for every caller who is known. What is denied is recorded, so that it costs more. */
  readonly callers: RateLimiter
  readonly onInternalError: OnInternalError
}

const COOKIE = '__Host-keyman'

/**
 * One listener's routes. Everything that every route needs stands here once, in this order: rate limit, caller, body, caller
 * once more, schema, role, touch, handler, answer. A route is declared once, in `shared/api`.
 */
export function createApp(options: AppOptions): Hono<EdgeEnv> {
  const app = newApp(options.onInternalError)
  const serving = (handled: Handled) => (c: Context<EdgeEnv>) => serveRoute(options, handled, c)
  const stranger: MiddlewareHandler<EdgeEnv> = (c, next) => {
    options.strangers.take(`files ${addressKey(requestInfo(c).from)}`)
    return next()
  }
  const isExact = ({ route }: Handled) => !route.path.includes('{')
  const here = options.handled.filter(({ route }) => route.listeners.includes(options.listener))
  for (const handled of here.filter(isExact)) app.on(handled.route.method, handled.route.path, serving(handled))
  // A method that such an address does not have is not looked for among those with a part that changes.
  for (const path of new Set(here.filter(isExact).map(({ route }) => route.path)))
    app.all(path, stranger, c => c.notFound())
  for (const handled of here.filter(each => !isExact(each)))
    app.on(handled.route.method, handled.route.path.replace(/\{(\w+)\}/g, ':$1'), serving(handled))
  // Whatever is added behind this, and what nobody serves: a bucket of its own, since a page is several files.
  app.use('*', stranger)
  return app
}

async function serveRoute(options: AppOptions, handled: Handled, c: Context<EdgeEnv>): Promise<Response> {
  const { route } = handled
  const { from, requestId } = requestInfo(c)
  if (route.caller === 'anyone') options.strangers.take(addressKey(from))
  const cookie = options.listener === 'pages' ? getCookie(c, COOKIE) : undefined
  const identify = () => (route.caller === 'anyone' ? undefined : callerOf(options, route, c, cookie))
  let caller = await identify()
  const free = caller !== undefined && isFree(options.gate, route, caller)
  if (caller && !free) take(options.callers, caller, route)
  const body = route.body ? await readJsonBody(c) : undefined
  // A body may take its time: whoever was signed out meanwhile is not the caller any more.
  if (route.body) caller = await identify()
  const raw: RawRequest = {
    caller,
    params: withoutNul(c.req.param() as Record<string, string>),
    query: route.query ? withoutNul(c.req.query()) : undefined,
    body,
    from,
    requestId,
    cookie,
    setCookie: value => c.header('set-cookie', cookieHeader(value), { append: true }),
  }
  const prepared = handled.prepare(raw)
  const touch = route.touch ? touchOf(c.req.header('keyman-touch')) : undefined
  const answer = await serve(options, { route, raw, prepared, free, touch })
  return route.status === 204 ? c.body(null, 204) : c.json(answer, route.status ?? 200)
}

async function serve(
  options: AppOptions,
  {
    route,
    raw,
    prepared,
    free,
    touch,
  }: {
    readonly route: Route
    readonly raw: RawRequest
    readonly prepared: Prepared
    /** Nothing was taken from the caller's bucket for it. */
    readonly free: boolean
    readonly touch: string | undefined
  },
): Promise<unknown> {
  const { gate, callers } = options
  const { caller } = raw
  try {
    const takes = prepared.takes()
    if (takes.length > 0 && !caller)
      throw new KeymanError('internal', `${route.action} takes a role, and nobody is known`)
    // Ending something is free for who may; what is refused, and recorded, is nobody's for nothing.
    if (free && caller && !takes.every(want => gate.may(caller, want))) callers.take(bucketOf(caller), route.cost)
    const cost = caller ? await prepared.costs() : 0
    if (caller && cost > 0) callers.take(bucketOf(caller), cost)
    const role = takes.length > 0 && caller ? await gate.requireRole(caller, prepared.takes, raw) : undefined
    // A workload has no passkey: what it was given, by somebody's touch, is all the consent there is.
    if (!caller || !route.touch || caller.kind === 'workload') return await prepared.run({ role })
    const consented = await gate.touches.require(caller, askedFor(options, route, raw, prepared), touch)
    if ('answer' in consented) return consented.answer
    return await act(options, raw, prepared, { role, consent: consented.consent })
  } catch (error) {
    if (caller && error instanceof KeymanError && error.code === 'denied') chargeDenial(callers, caller)
    throw error
  }
}

type Prepared = ReturnType<Handled['prepare']>

const askedFor = ({ gate }: AppOptions, route: Route, raw: RawRequest, prepared: Prepared) => ({
  action: actionWords(route.action),
  mandated: () => route.mandated === true && prepared.gives().length === 0,
  request: requestText({ ...route, params: raw.params, query: prepared.query, body: prepared.body }),
  shown: (on: Queryable) => prepared.shown(on, gate.touches.digest),
  from: raw.from,
})

async function act(
  { gate, onInternalError }: AppOptions,
  { requestId }: RawRequest,
  prepared: Prepared,
  { role, consent }: { readonly role: Role | undefined; readonly consent: Consent },
): Promise<unknown> {
  let isUsed = false
  const answer = await prepared.run({
    role,
    consent: {
      id: consent.id,
      async use(t, by) {
        await consent.use(t, by)
        isUsed = true
      },
    },
  })
  if (!isUsed) throw new KeymanError('internal', 'this was done, but its touch was not used up')
  // It is done: where this fails, whoever asks again hears that, and not the answer.
  await gate.touches.keepAnswer(consent.id, answer).catch((error: unknown) => onInternalError(error, requestId))
  return answer
}

/** Throws for what names no transaction, also where none is needed: whoever sends it takes it for one. */
function touchOf(header: string | undefined): string | undefined {
  if (header === undefined || /^action_[A-Za-z0-9_-]{10,64}$/.test(header)) return header
  throw invalid('keyman-touch', 'must be the transaction that was confirmed, as the refusal named it')
}

/** What a denial costs, in requests: each is a record for good. */
const DENIAL = 20

/** Once somebody was denied often, over all of their sessions, a denial uses the session up: signing in again gives no more records. */
function chargeDenial(callers: RateLimiter, caller: Caller): void {
  callers.charge(bucketOf(caller), DENIAL)
  try {
    callers.take(`denials of ${nameOf(caller)}`, DENIAL)
  } catch {
    callers.charge(bucketOf(caller), Number.MAX_SAFE_INTEGER)
  }
}

/**
 * What lives on is counted over all sessions of its person or workload as well, where one has as much as two sessions: so one that was stolen uses up half
 * of it at most.
 */
const SESSIONS = 2
function take(callers: RateLimiter, caller: Caller, { cost = 1 }: Route): void {
  callers.take(bucketOf(caller), cost)
  if (cost > 1 && caller.kind !== 'host') callers.take(`certificates of ${nameOf(caller)}`, cost / SESSIONS)
}

const nameOf = (caller: Caller): string =>
  caller.kind === 'person' ? caller.identity : `${caller.kind}:${caller.name}`

/** One session's use is never another's: who stole the one leaves the person all others, and a new login. */
const bucketOf = (caller: Caller): string =>
  caller.kind === 'host' ? `host:${caller.name}` : `session:${caller.session}`

/** Ending something is for those who may, however much somebody else has used of this session. What is denied is recorded. */
const isFree = ({ may }: Gate, { ends, action }: Route, caller: Caller): boolean =>
  ends === true && (ACTIONS[action].by !== 'role' || may(caller, { action, in: 'anywhere' }))

/** No database takes U+0000 in a text, and no name of ours has it: refused here once, for every parameter of every address. */
function withoutNul(values: Record<string, string>): Record<string, string> {
  for (const [name, value] of Object.entries(values))
    if (value.includes('\0')) throw invalid(name, 'the character U+0000 is not taken')
  return values
}

async function callerOf(
  options: AppOptions,
  route: Route,
  c: Context<EdgeEnv>,
  cookie: string | undefined,
): Promise<Caller> {
  const caller = await identified(options, route, c, cookie)
  noteCaller(c, nameOf(caller))
  if (!isFor(route, caller)) {
    options.callers.take(bucketOf(caller))
    throw new KeymanError('denied', `this is for ${WHO[route.caller]} alone`)
  }
  return caller
}

function isFor(route: Route, caller: Caller): boolean {
  switch (caller.kind) {
    case 'person':
      return (
        route.caller === 'person' ||
        route.caller === 'session' ||
        (route.caller === 'browser' && caller.via === 'browser')
      )
    case 'workload':
      // What takes a role, whoever has it; not what persons do for themselves.
      return (
        route.caller === 'workload' ||
        route.caller === 'session' ||
        (route.caller === 'person' && ACTIONS[route.action].by === 'role')
      )
    case 'host':
      return route.caller === 'host'
  }
}

const WHO = {
  anyone: 'anyone',
  browser: 'a browser that is signed in',
  person: 'persons',
  host: 'hosts',
  workload: 'workloads',
  session: 'persons and workloads',
}

/** Who fails to show who they are is a stranger, and counted as one: nobody tries certificates or cookies without a limit. */
async function identified(
  options: AppOptions,
  route: Route,
  c: Context<EdgeEnv>,
  cookie: string | undefined,
): Promise<Caller> {
  try {
    return await identify(options, route, c, cookie)
  } catch (error) {
    if (error instanceof SupersededKey) await options.gate.ring(error, requestInfo(c))
    if (error instanceof KeymanError && error.code === 'not-signed-in')
      options.strangers.take(addressKey(requestInfo(c).from))
    throw error
  }
}

function identify(
  options: AppOptions,
  route: Route,
  c: Context<EdgeEnv>,
  cookie: string | undefined,
): Caller | Promise<Caller> {
  if (options.listener === 'pages') {
    if (cookie === undefined)
      throw new KeymanError('not-signed-in', 'not signed in', { hint: 'sign in with your passkey' })
    return options.gate.callerFromCookie(cookie)
  }
  const certificate = clientCertificate(c)
  if (!certificate)
    throw new KeymanError('not-signed-in', 'no client certificate was shown', { hint: 'run keyman login' })
  const renews = route.action === 'own-workload.renew'
  return options.gate.callerFromClientCertificate(certificate.der, certificate.authorized, renews)
}

/** `__Host-`: this host alone, every path, https (or localhost) only. */
const cookieHeader = (value: string | undefined): string =>
  `${COOKIE}=${value ?? ''}; Path=/; Secure; HttpOnly; SameSite=Strict${value === undefined ? '; Max-Age=0' : ''}`
