import type { Caller } from '#server/identity/index.ts'
import type { Route } from '#shared/api/index.ts'

/** One request after the edge has checked it: schema, listener, caller, freshness of the assertion. */
export type ApiRequest<Query, Body> = {
  readonly route: Route
  /** Present for every route but those for `anyone`, where it is there if the caller is known. */
  readonly caller: Caller | undefined
  /** Path parameters, percent-decoded once. Services parse them with `shared/names.ts`. */
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly body: Body
  /** The peer's address (of a trusted proxy's client, where one is configured). */
  readonly from: string
  readonly requestId: string
  /** The cookie of the pages, `__Host-keyman`, where one came. */
  readonly cookie: string | undefined
  /** Sets, or with `undefined` removes, the cookie of the pages: `__Host-`, Secure, HttpOnly, SameSite=Strict. */
  setCookie(value: string | undefined): void
}

/** One route with what serves it. */
export type Handled = {
  readonly route: Route
  readonly handler: (request: ApiRequest<unknown, unknown>) => Promise<unknown>
  /** For routes with an `action`: what it is done to, as the page and the ledger show it. */
  readonly target: (request: ApiRequest<unknown, unknown>) => string
}

/**
 * Pairs a route with its handler, keeping the schema's types. The handler calls one service and shapes the answer; it
 * decides nothing. `target` names what an action is done to (default: the path's parameters).
 */
export function handle<Query, Body, Answer>(
  route: Route<Query, Body, Answer>,
  handler: (request: ApiRequest<Query, Body>) => Promise<Answer>,
  target: (request: ApiRequest<Query, Body>) => string = request => Object.values(request.params).join(' '),
): Handled {
  // The edge parses query and body with this very route's schemas before it calls, so the types hold.
  return { route, handler, target } as unknown as Handled
}
