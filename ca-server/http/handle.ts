import type { z } from 'zod'
import type { Caller, Consent, Standing } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { inWords, type Line, type Route } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { fieldErrors } from './field-errors.ts'

/** What the edge knows of one request before a route's schemas have seen it. */
export type RawRequest = {
  /** Present for every route but those for `anyone`, where it is there if the caller is known. */
  readonly caller: Caller | undefined
  /** As what the route lets persons in. */
  readonly role: Standing['role']
  /** Of a route with an action, once it is there. */
  readonly consent?: Consent | undefined
  /** Path parameters, percent-decoded once, and as the route's schema wants them where `prepare` has seen them. */
  readonly params: Readonly<Record<string, string>>
  readonly query: unknown
  readonly body: unknown
  /** The peer's address (of a trusted proxy's client, where one is configured). */
  readonly from: string
  readonly requestId: string
  /** The cookie of the pages, `__Host-keyman`, where one came. */
  readonly cookie: string | undefined
  /** Sets, or with `undefined` removes, the cookie of the pages: `__Host-`, Secure, HttpOnly, SameSite=Strict. */
  setCookie(value: string | undefined): void
}

/** The same after the route's schemas: query and body are what they say. */
export type ApiRequest<Query, Body> = Omit<RawRequest, 'query' | 'body'> & {
  readonly query: Query
  readonly body: Body
}

/** One route with what serves it. `prepare` checks query and body and throws `invalid-input` with every field named. */
export type Handled = {
  readonly route: Route
  prepare(raw: RawRequest): {
    /** As the schemas read them. */
    readonly query: unknown
    readonly body: unknown
    /** For routes with an `action`: the whole request in words, and what its IDs name. */
    shown(on: Queryable, digest: (secret: string) => string): Promise<Line[]>
    run(consent?: Consent): Promise<unknown>
  }
}

/**
 * Pairs a route with its handler, keeping the schemas' types. The handler calls one service and shapes the answer; it
 * decides nothing. `names`: what the request's IDs and names stand for, read by this handle, which may be a transaction's.
 */
export function handle<Query, Body, Answer>(
  route: Route<Query, Body, Answer>,
  handler: (request: ApiRequest<Query, Body>) => Promise<Answer>,
  names: (request: ApiRequest<Query, Body>, on: Queryable) => Promise<readonly Line[]> = async () => [],
): Handled {
  return {
    route,
    prepare(raw) {
      if (route.params) check(route.params, raw.params, 'path')
      const request: ApiRequest<Query, Body> = {
        ...raw,
        query: check(route.query, raw.query, 'query'),
        body: check(route.body, raw.body, 'body'),
      }
      return {
        query: request.query,
        body: request.body,
        shown: async (on, digest) => [
          ...Object.entries(request.params).map(([key, value]) => ({ name: PARAMETERS[key] ?? key, value })),
          ...(route.query ? inWords(route.query, request.query, digest) : []),
          ...(route.body ? inWords(route.body, request.body, digest) : []),
          ...(await names(request, on)),
        ],
        run: consent => handler({ ...request, consent }),
      }
    },
  }
}

/** What the parameters of paths are called on the page. */
const PARAMETERS: Readonly<Record<string, string>> = { id: 'ID', name: 'Name', identity: 'Person' }

/** A route without a schema takes nothing: there `T` is `undefined` (the default of `route()`), the one place that says so. */
function check<T>(schema: z.ZodType<T> | undefined, value: unknown, where: 'path' | 'query' | 'body'): T {
  if (!schema) return undefined as T
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const fields = fieldErrors(result.error, where)
  const first = fields[0]
  throw new KeymanError('invalid-input', first ? `${first.field}: ${first.message}` : `the ${where} is not valid`, {
    fields,
  })
}
