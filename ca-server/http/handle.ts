import type { z } from 'zod'
import type { Want } from '#server/access/index.ts'
import type { Caller, Consent, Role } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { ACTIONS, inWords, type Line, type Route } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { fieldErrors } from './field-errors.ts'

/** What the edge knows of one request before a route's schemas have seen it. */
export type RawRequest = {
  /** Present for every route but those for `anyone`, where it is there if the caller is known. */
  readonly caller: Caller | undefined
  /** Of a route that takes one, once it is there. */
  readonly role?: Role | undefined
  /** Of a route that wants a touch, once it is there. */
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

/** By what a request is served. */
export type Given = { readonly role?: Role | undefined; readonly consent?: Consent | undefined }

/** One route with what serves it. `prepare` checks query and body and throws `invalid-input` with every field named. */
export type Handled = {
  readonly route: Route
  prepare(raw: RawRequest): {
    /** As the schemas read them. */
    readonly query: unknown
    readonly body: unknown
    /** What it takes to be let in, as things are at the moment; nothing for what is one's own. What it gives, it takes too. */
    takes(): readonly Want[]
    /** What somebody can do by it afterwards: no mandate covers that. */
    gives(): readonly Want[]
    /** What it costs of the caller's requests though ending something is free: what is named may be nothing that could end. */
    costs(): Promise<number>
    /** For routes that want a touch: the whole request in words, and what its IDs name. */
    shown(on: Queryable, digest: (secret: string) => string): Promise<Line[]>
    run(given: Given): Promise<unknown>
  }
}

/**
 * Pairs a route with its handler, keeping the schemas' types. The handler calls one service and shapes the answer; it
 * decides nothing. `names`: what the request's IDs and names stand for, read by this handle, which may be a transaction's. `takes`:
 * what it asks for beside its action; of an action that is done in a place, all of it. Throws a TypeError where such a route does
 * not say. `gives`: what somebody can do by it afterwards.
 */
export function handle<Query, Body, Answer>(
  route: Route<Query, Body, Answer>,
  handler: (request: ApiRequest<Query, Body>) => Promise<Answer>,
  {
    names = async () => [],
    takes,
    gives,
    costs = async () => 0,
  }: {
    readonly costs?: (request: ApiRequest<Query, Body>) => Promise<number>
    readonly names?: (request: ApiRequest<Query, Body>, on: Queryable) => Promise<readonly Line[]>
    readonly takes?: (request: ApiRequest<Query, Body>) => readonly Want[]
    readonly gives?: (request: ApiRequest<Query, Body>) => readonly Want[]
  } = {},
): Handled {
  const { action } = route
  const described = ACTIONS[action]
  const isInPlace = described.by === 'role' && described.in === 'place'
  if (isInPlace && !takes) throw new TypeError(`${route.path}: ${action} in which place?`)
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
        takes: () => [
          ...(described.by === 'role' && !isInPlace ? [{ action }] : []),
          ...(takes?.(request) ?? []),
          ...(gives?.(request) ?? []),
        ],
        gives: () => gives?.(request) ?? [],
        costs: () => costs(request),
        run: given => handler({ ...request, ...given }),
      }
    },
  }
}

/** What the parameters of paths are called on the page. */
const PARAMETERS: Readonly<Record<string, string>> = {
  id: 'ID',
  name: 'Name',
  identity: 'Person',
  project: 'Project',
  environment: 'Environment',
}

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
