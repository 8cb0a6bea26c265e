import { Agent, request as httpsRequest } from 'node:https'
import { type ApiCall, answerFrom, api, callOf, type Route, refusalFrom } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { proxyEnvironment, proxyFailure } from '#shared/proxy-environment.ts'
import { told } from '#shared/told.ts'

/** How the server is reached: with the machine authority's roots from the trust bundle, never the system's. */
export type Connection = {
  readonly url: string
  /** PEM. `undefined` while the trust bundle itself is fetched: what comes is believed by its signature, not by the connection. */
  readonly roots: readonly string[] | undefined
  /** PEM. */
  readonly client?: { readonly key: string; readonly certificate: string }
}

const DEADLINE_MS = 20_000
const MAX_ANSWER = 4 * 1024 * 1024

/** TLS settings for HTTPS and for the stream. The server's name is checked wherever roots are given. */
export function tlsOptions(connection: Connection) {
  return {
    minVersion: 'TLSv1.3' as const,
    ...(connection.roots === undefined
      ? { rejectUnauthorized: false }
      : { ca: [...connection.roots], rejectUnauthorized: true }),
    ...(connection.client ? { key: connection.client.key, cert: connection.client.certificate } : {}),
  }
}

/** An agent of its own for each connection, which none outlives; by the proxy of the environment, if there is one. */
export const agentFor = (connection: Connection): Agent => {
  const proxyEnv = proxyEnvironment(connection.url, process.env)
  return new Agent({ ...(proxyEnv ? { proxyEnv } : {}), ...tlsOptions(connection) })
}

/** Calls one route; its answer is what the route's schema says. Throws the server's refusal as `KeymanError`, `unavailable` where none came. */
export async function call<Query, Body, Answer>(
  connection: Connection,
  route: Route<Query, Body, Answer>,
  input: { body?: Body },
): Promise<Answer> {
  const { status, text } = await exchange(connection, callOf(route, input))
  if (status >= 400) throw refusalFrom(connection.url, status, text)
  return answerFrom(route, { from: connection.url, by: 'agent', text })
}

/**
 * How far the server's clock is from ours, by the `Date` of an answer: milliseconds, theirs minus ours, true to about a
 * second. Throws `unavailable` where no time comes.
 */
export async function clockDifference(connection: Connection, now: () => Date): Promise<number> {
  const before = now().getTime()
  // Asks no database, counts against no limit of calls, and stands in no log of refusals.
  const { date } = await exchange(connection, callOf({ method: 'GET', path: '/healthz' }))
  const after = now().getTime()
  // `Date` is cut to the second before it.
  const theirs = Date.parse(date ?? '') + 500
  if (Number.isNaN(theirs)) throw new KeymanError('unavailable', `${connection.url} does not say what time it has`)
  return theirs - (before + after) / 2
}

/**
 * Asks the server whether it takes our client certificate for a host of its own. Throws `denied` where it does not,
 * `unavailable` where no answer comes.
 */
export async function checkKnown(connection: Connection): Promise<void> {
  // An empty question: the server looks who asks before it looks what is asked, and issues nothing. Opening the stream
  // would tell as well, but end that of the agent that runs.
  const { status, text } = await exchange(connection, callOf(api.hostSelf.hostCertificate, { body: {} }))
  if (status === 401 || status === 403) throw notKnown(status)
  if (status !== 400) throw refusalFrom(connection.url, status, text)
}

/** Removed at the server, or joined anew from somewhere else. */
export const notKnown = (status: number): KeymanError =>
  new KeymanError('denied', `the server does not know this host any more (${status})`, {
    hint: 'keyman-agent leave takes KeyMan off this machine; to keep it: keyman host add, then keyman-agent join --again with the new token',
  })

/** `unavailable` with why; a certificate out of its time may as well be a clock of ours that is wrong. */
export function unreached(connection: Connection, error: NodeJS.ErrnoException): KeymanError {
  const byProxy = proxyFailure(error, proxyEnvironment(connection.url, process.env))
  if (byProxy)
    return new KeymanError('unavailable', `${connection.url} is not reached: ${byProxy.why}`, { hint: byProxy.hint })
  const { message, code } = told(error)
  const byTime = error.code === 'CERT_NOT_YET_VALID' || error.code === 'CERT_HAS_EXPIRED'
  return new KeymanError(
    'unavailable',
    `${connection.url} is not reached: ${byTime || code !== 'internal' ? message : 'the connection failed'}`,
    {
      cause: error,
      ...(byTime ? { hint: "look whether this host's clock is right" } : {}),
    },
  )
}

type Exchanged = { readonly status: number; readonly text: string; readonly date: string | undefined }

function exchange(connection: Connection, { method, target, headers, payload }: ApiCall): Promise<Exchanged> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(new URL(target, connection.url), {
      method,
      // A connection for each call: calls are rare, and none outlives the certificate that it was made with.
      agent: agentFor(connection),
      headers: {
        ...headers,
        ...(payload === undefined ? {} : { 'content-length': Buffer.byteLength(payload) }),
      },
    })
    const timer = setTimeout(() => request.destroy(new KeymanError('unavailable', 'no answer in time')), DEADLINE_MS)
    const fail = (error: Error) => {
      clearTimeout(timer)
      reject(unreached(connection, error))
    }
    request.on('error', fail)
    request.on('response', response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > MAX_ANSWER) request.destroy(new KeymanError('unavailable', 'the answer is too large'))
      })
      // It hung up in the middle: the request itself hears nothing of that any more.
      response.on('error', fail)
      response.on('end', () => {
        clearTimeout(timer)
        resolve({ status: response.statusCode ?? 0, text, date: response.headers.date })
      })
    })
    request.end(payload)
  })
}
