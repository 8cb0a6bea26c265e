import { invalid } from '../errors.ts'

/**
 * Pure: a call as it is sent, for keyman, the agent and the pages alike. Without the schemas, which the pages do not load: they know
 * of a route its method and path. What comes back is read by `answer.ts`.
 */
export type RequestInput = {
  /** By the words of the path. */
  readonly params?: Readonly<Record<string, string>> | undefined
  readonly query?: Readonly<Record<string, string | number | undefined>> | undefined
  readonly body?: unknown
  /** The transaction that was confirmed for this very request. */
  readonly touch?: string | undefined
}

export type ApiCall = {
  readonly method: string
  /** Path and query. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON. */
  readonly payload: string | undefined
}

/** Throws `invalid-input` for a value that no address carries to the server as it is. */
export function callOf(
  { method, path }: { readonly method: string; readonly path: string },
  { params = {}, query = {}, body, touch }: RequestInput = {},
): ApiCall {
  const payload = body === undefined ? undefined : JSON.stringify(body)
  return {
    method,
    target: path.replace(/\{(\w+)\}/g, (_, word: string) => segment(word, params[word] ?? '')) + search(query),
    headers: {
      accept: 'application/json',
      ...(payload === undefined ? {} : { 'content-type': 'application/json' }),
      ...(touch === undefined ? {} : { 'keyman-touch': touch }),
    },
    payload,
  }
}

/** Dots alone lead to another address, however they are spelled (WHATWG URL, 'double-dot URL path segment'): `hosts/..` is not in `hosts`. */
function segment(word: string, value: string): string {
  if (value === '' || value === '.' || value === '..') throw invalid(word, "must not be empty, '.' or '..'")
  return encodeURIComponent(wellFormed(word, value))
}

function search(query: NonNullable<RequestInput['query']>): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, wellFormed(name, String(value))]],
  )
  return given.length === 0 ? '' : `?${new URLSearchParams(given)}`
}

/** Half of a character has no UTF-8. */
function wellFormed(name: string, value: string): string {
  if (!value.isWellFormed()) throw invalid(name, 'must be text')
  return value
}
