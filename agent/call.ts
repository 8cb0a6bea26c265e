import { request as httpsRequest } from 'node:https'
import { parseJson, type Route, refusalFrom } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'

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
    minVersion: 'TLSv1.2' as const,
    ...(connection.roots === undefined
      ? { rejectUnauthorized: false }
      : { ca: [...connection.roots], rejectUnauthorized: true }),
    ...(connection.client ? { key: connection.client.key, cert: connection.client.certificate } : {}),
  }
}

/** Calls one route; its answer is what the route's schema says. Throws the server's refusal as `KeymanError`, `unavailable` where none came. */
export async function call<Query, Body, Answer>(
  connection: Connection,
  route: Route<Query, Body, Answer>,
  input: { body?: Body },
): Promise<Answer> {
  const { status, text } = await exchange(connection, route.path, route.method, input.body)
  if (status >= 400) throw refusalFrom(connection.url, status, text)
  // A route without an answer has `undefined` for its answer's type.
  if (!route.answer) return undefined as Answer
  const parsed = route.answer.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  throw new KeymanError('internal', `${connection.url} gave an answer that this agent does not understand`)
}

function exchange(connection: Connection, path: string, method: string, body: unknown) {
  const payload = body === undefined ? undefined : utf8(JSON.stringify(body))
  return new Promise<{ status: number; text: string }>((resolve, reject) => {
    const request = httpsRequest(new URL(path, connection.url), {
      method,
      // A connection for each call: calls are rare, and none outlives the certificate that it was made with.
      agent: false,
      ...tlsOptions(connection),
      headers: {
        accept: 'application/json',
        ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': payload.length }),
      },
    })
    const timer = setTimeout(() => request.destroy(new Error('no answer in time')), DEADLINE_MS)
    request.on('error', error => {
      clearTimeout(timer)
      reject(new KeymanError('unavailable', `${connection.url} is not reached: ${error.message}`, { cause: error }))
    })
    request.on('response', response => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > MAX_ANSWER) request.destroy(new Error('the answer is too large'))
      })
      response.on('end', () => {
        clearTimeout(timer)
        resolve({ status: response.statusCode ?? 0, text })
      })
    })
    request.end(payload)
  })
}
