import type { z } from 'zod'
import type { ActionName } from './catalogue.ts'

/**
 * The contract is written once: each route stands in one of this folder's tables with its schemas. The server's checks,
 * the OpenAPI document and the typed calls of CLI, agent and pages are all made from it; there is no second list.
 */
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/**
 * Who may call. `anyone`: before anybody is known (rate-limited). `browser`: the page's cookie. `person`: a person's
 * client certificate, or the cookie on the pages' listener. `host`, `workload`: a host's or a workload's client certificate. `session`: a
 * person's or a workload's. What it takes
 * beside is the action's: where that is a role, a workload that has it may call too.
 */
export type CallerKind = 'anyone' | 'browser' | 'person' | 'host' | 'workload' | 'session'

/** `pages`: what browsers open, at `public_url`. `machines`: TLS with client certificates. */
export type Listener = 'pages' | 'machines'

export type Route<Query = unknown, Body = unknown, Answer = unknown> = {
  readonly method: Method
  /** `/v1/hosts/{name}`: each `{word}` is one path segment, with its schema in `params`. */
  readonly path: string
  readonly listeners: readonly Listener[]
  readonly caller: CallerKind
  /** What is done by it: who may is decided by this name (`catalogue.ts`), which stands in the page and in the ledger too. */
  readonly action: ActionName
  /**
   * It wants a touch of a passkey for this very request: method, path, query, body, session and client key. What is confirmed is named by the header `keyman-touch` of the request that follows,
   * once; the same request with the same touch gets the first answer.
   */
  readonly touch?: true
  /** A mandate (`api.mandates`) covers it too, where it gives nobody a role. Not: what makes owners, lets somebody in, or touches keys and trust. */
  readonly mandated?: true
  readonly summary: string
  /** For how many requests of its caller it counts (default 1): a certificate lives on, and may have to be revoked. */
  readonly cost?: number
  /** It takes away or ends something: whoever may do it is never told to wait by what the same session did before. */
  readonly ends?: true
  readonly params?: z.ZodType<Record<string, string>>
  readonly query?: z.ZodType<Query>
  readonly body?: z.ZodType<Body>
  readonly answer?: z.ZodType<Answer>
  /** Default 200. */
  readonly status?: 200 | 201 | 204
}

/** Keeps the precise schema types of one entry; it changes nothing. */
export const route = <Query = undefined, Body = undefined, Answer = undefined>(
  definition: Route<Query, Body, Answer>,
): Route<Query, Body, Answer> => definition
