import type { z } from 'zod'
import type { Caller, Standing } from '#server/identity/index.ts'
import type { Route } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { fieldErrors } from './field-errors.ts'

/** What the edge knows of one request before a route's schemas have seen it. */
export type RawRequest = {
  /** Present for every route but those for `anyone`, where it is there if the caller is known. */
  readonly caller: Caller | undefined
  /** As what the route lets persons in. */
  readonly role: Standing['role']
  /** Path parameters, percent-decoded once. Services parse them with `shared/names.ts`. */
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
    /** For routes with an `action`: what it is done to, as the page and the ledger show it. */
    target(): string
    run(): Promise<unknown>
  }
}

/**
 * Pairs a route with its handler, keeping the schemas' types. The handler calls one service and shapes the answer; it
 * decides nothing. `target` names what an action is done to (default: the path's parameters).
 */
export function handle<Query, Body, Answer>(
  route: Route<Query, Body, Answer>,
  handler: (request: ApiRequest<Query, Body>) => Promise<Answer>,
  target: (request: ApiRequest<Query, Body>) => string = request => Object.values(request.params).join(' '),
): Handled {
  return {
    route,
    prepare(raw) {
      const request: ApiRequest<Query, Body> = {
        ...raw,
        query: check(route.query, raw.query, 'query'),
        body: check(route.body, raw.body, 'body'),
      }
      return { target: () => target(request), run: () => handler(request) }
    },
  }
}

/** A route without a schema takes nothing: there `T` is `undefined` (the default of `route()`), the one place that says so. */
function check<T>(schema: z.ZodType<T> | undefined, value: unknown, where: 'query' | 'body'): T {
  if (!schema) return undefined as T
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const fields = fieldErrors(result.error, where)
  const first = fields[0]
  throw new KeymanError('invalid-input', first ? `${first.field}: ${first.message}` : `the ${where} is not valid`, {
    fields,
  })
}
