import { Agent, request as httpsRequest } from 'node:https'
import { type PeerCertificate, TLSSocket } from 'node:tls'
import { type ApiCall, answerFrom, callOf, type Route, refusalFrom } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { proxyEnvironment, proxyFailure } from '#shared/proxy-environment.ts'
import { told } from '#shared/told.ts'

/** How the server is reached: only the `machines` root of the pinned trust bundle is trusted, never the system's. */
export type Connection = {
  readonly url: string
  /** PEM. `undefined` only while the bundle itself is fetched: it is checked against the pinned root, not by the connection. */
  readonly root: string | undefined
  /** PEM; the session's client key and certificate. */
  readonly client?: { readonly key: string; readonly certificate: string }
  /** Asks the person for the touch that a request wants: it is sent again with it. Without this the refusal is the answer. */
  confirm?(transaction: { readonly id: string; readonly url: string }, why: string): Promise<void>
  /** What to ask by at this moment, where that changes. */
  current?(): Promise<Connection>
  /**
   * Called where the server says that it does not know who asks, or not any more, with what was asked by. Gives what to ask by instead,
   * once, where that has changed meanwhile.
   */
  unknown?(refused: Connection): Promise<Connection | undefined>
}

export type CallInput<Query, Body> = {
  params?: Record<string, string>
  query?: Partial<Record<keyof Query & string, string | number | undefined>>
  body?: Body
  /** The transaction that was confirmed for this very request. */
  touch?: string
  /** How long the whole call may take, in milliseconds; ten seconds by default. A server that is dead is seen sooner. */
  deadline?: number
}

/** With a dead server every command ends within three seconds, its own start included: a handshake that takes longer is given up. */
const CONNECT_MS = 2000

type Reason = { readonly why: string; readonly hint: string }

/** The server could not be reached, or not in time. `main.ts` adds until when the certificate is good all the same. */
export class Unreachable extends KeymanError {
  constructor(url: string, { why, hint }: Reason) {
    super('unavailable', `${url} is not reached: ${why}`, { hint })
  }
}

const MAX_ASKED = 3
const agents = new WeakMap<Connection, Agent>()
const MAX_ANSWER = 32 * 1024 * 1024

/** Calls one route of the machines' listener and gives its answer as the route's schema says. Throws `KeymanError` for each refusal, `Unreachable` where none came. */
export async function call<Query, Body, Answer>(
  connection: Connection,
  route: Route<Query, Body, Answer>,
  input: CallInput<Query, Body> = {},
  asked = 0,
  isAgain = false,
): Promise<Answer> {
  const by = (await connection.current?.()) ?? connection
  const { status, text } = await exchange(by, callOf(route, input), input.deadline)
  if (status >= 400) {
    const refusal = refusalFrom(connection.url, status, text)
    const other = refusal.code === 'not-signed-in' && !isAgain ? await connection.unknown?.(by) : undefined
    if (other) return call(other, route, input, asked, true)
    const { transaction } = refusal
    // What it is about may be otherwise by then, and is shown and asked for anew; but not for ever.
    if (!transaction || !connection.confirm || asked === MAX_ASKED) throw refusal
    await connection.confirm(transaction, refusal.message)
    return call(connection, route, { ...input, touch: transaction.id }, asked + 1)
  }
  return answerFrom(route, { from: connection.url, by: 'keyman', text })
}

/** What a check of the server wants to know: how long an answer takes, and how far its clock is from ours (milliseconds, theirs minus ours). */
export async function probe(
  connection: Connection,
  path: string,
): Promise<{ took: number; clock: number | undefined }> {
  const started = Date.now()
  const { date } = await exchange(connection, callOf({ method: 'GET', path }))
  const took = Date.now() - started
  return { took, clock: date === undefined ? undefined : Date.parse(date) - started - took / 2 }
}

/** Theirs minus ours, in milliseconds, as the last answer over this connection said it (HTTP's `Date` counts whole seconds). */
const clocks = new WeakMap<Connection, number>()
export const clockDifference = (connection: Connection): number => clocks.get(connection) ?? 0

/** For how many milliseconds something still lasts that ends at a time of the server's own clock, whatever ours says. */
export const lasts = (connection: Connection, endsAt: string): number =>
  Date.parse(endsAt) - (Date.now() + clockDifference(connection))

type Exchanged = { readonly status: number; readonly text: string; readonly date: string | undefined }

function exchange(connection: Connection, { method, target, headers, payload }: ApiCall, deadline = 10_000) {
  return new Promise<Exchanged>((resolve, reject) => {
    const request = httpsRequest(new URL(target, connection.url), {
      method,
      agent: agentOf(connection),
      headers: {
        ...headers,
        ...(payload === undefined ? {} : { 'content-length': Buffer.byteLength(payload) }),
      },
    })
    let cut: string | undefined
    const cutOff = (why: string) => {
      cut = why
      request.destroy(new KeymanError('unavailable', why))
    }
    const giveUp = (after: number) => setTimeout(() => cutOff(`no answer within ${after / 1000} s`), after)
    const timer = giveUp(deadline)
    request.on('socket', socket => {
      // One that is kept alive has its handshake behind it, and so has one that came through a proxy.
      if (request.reusedSocket || (socket instanceof TLSSocket && socket.getPeerX509Certificate() !== undefined)) return
      const connecting = giveUp(CONNECT_MS)
      socket.once('secureConnect', () => clearTimeout(connecting))
      socket.once('close', () => clearTimeout(connecting))
    })
    request.on('error', error => {
      clearTimeout(timer)
      reject(new Unreachable(connection.url, reasonOf(error, connection.url)))
    })
    request.on('response', response => {
      const theirs = Date.parse(response.headers.date ?? '')
      if (!Number.isNaN(theirs)) clocks.set(connection, theirs - Date.now())
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > MAX_ANSWER) cutOff('the answer is too large')
      })
      // It hung up in the middle, or was cut off by us: the request itself hears nothing of that any more.
      response.on('error', error => {
        clearTimeout(timer)
        reject(
          new Unreachable(
            connection.url,
            cut === undefined ? reasonOf(error, connection.url) : { why: cut, hint: LATE },
          ),
        )
      })
      response.on('end', () => {
        clearTimeout(timer)
        resolve({ status: response.statusCode ?? 0, text, date: response.headers.date })
      })
    })
    request.end(payload)
  })
}

function agentOf(connection: Connection): Agent {
  const known = agents.get(connection)
  if (known) return known
  const proxyEnv = proxyEnvironment(connection.url, process.env)
  const agent = new Agent({
    ...(proxyEnv ? { proxyEnv } : {}),
    keepAlive: true,
    maxSockets: 4,
    minVersion: 'TLSv1.3',
    maxCachedSessions: 0,
    ...(connection.root === undefined
      ? // Nothing secret goes over this connection and nothing that comes is believed before its signature is checked.
        { rejectUnauthorized: false, checkServerIdentity: (_: string, __: PeerCertificate) => undefined }
      : { ca: connection.root, rejectUnauthorized: true }),
    ...(connection.client ? { key: connection.client.key, cert: connection.client.certificate } : {}),
  })
  agents.set(connection, agent)
  return agent
}

const LATE = 'see whether it still runs, and what lies between; keyman doctor measures'

function reasonOf(error: NodeJS.ErrnoException, url: string): Reason {
  const byProxy = proxyFailure(error, proxyEnvironment(url, process.env))
  if (byProxy) return byProxy
  if (error.code === 'EPROTO')
    return {
      why: 'it does not speak TLS',
      hint: "is this the address of the pages? The machines' address is printed at the server's start",
    }
  if (error.code?.startsWith('ERR_TLS') || error.code?.includes('CERT') || error.code?.includes('SIGNATURE'))
    return {
      why: `its certificate is not one of the pinned machine authority (${error.code})`,
      hint: 'another server may answer at this address: keyman login looks at its root of trust; tell your administrator',
    }
  const { message, hint = LATE, code } = told(error)
  return { why: code === 'internal' ? 'the connection failed' : message, hint: code === 'internal' ? LATE : hint }
}
