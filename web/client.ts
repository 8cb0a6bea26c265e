import { callOf } from '#shared/api/call.ts'
import type { api, Problem, Route } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { strings } from './strings.ts'

type Api = typeof api
type AnswerOf<R> = R extends Route<infer _Query, infer _Body, infer Answer> ? Answer : never
type BodyOf<R> = R extends Route<infer _Query, infer Body, infer _Answer> ? Body : never

/** Method and path of each route, put in by the build from `shared/api`: the page needs these two and no schema. */
declare const __ROUTES__: Record<string, { method: string; path: string }>

/** A refusal of the API, or the network's. `detail` and `hint` are the server's own sentences. */
export class Refusal extends Error {
  readonly code: string
  readonly hint: string | undefined
  /** By which the server's log knows the request. */
  readonly requestId: string | undefined
  readonly transaction: { id: string; url: string } | undefined
  constructor(problem: Pick<Problem, 'code' | 'detail'> & Partial<Problem>) {
    super(problem.detail)
    this.code = problem.code
    this.hint = problem.hint
    this.requestId = problem.requestId
    this.transaction = problem.transaction
  }
}

/**
 * Calls one route of the pages' listener, `call('login', 'consent', { transaction }, { assertion })`.
 * Throws `Refusal`; with code `offline` where no answer came.
 */
export async function call<Resource extends keyof Api, Name extends keyof Api[Resource] & string>(
  resource: Resource,
  name: Name,
  params: Record<string, string> = {},
  body?: BodyOf<Api[Resource][Name]>,
  /** The transaction that was confirmed for this very request. */
  touch?: string,
): Promise<AnswerOf<Api[Resource][Name]>> {
  const route = __ROUTES__[`${resource}.${name}`]
  if (!route) throw new Error(`no route ${resource}.${name}`)
  const { method, target, headers, payload = null } = sent(route, { params, body, touch })
  let response: Response
  try {
    response = await fetch(target, { method, credentials: 'same-origin', headers, body: payload })
  } catch {
    throw new Refusal({ code: 'offline', detail: 'offline' })
  }
  if (response.status === 204) return undefined as AnswerOf<Api[Resource][Name]>
  const answer = await response.json().catch(() => undefined)
  if (response.ok) return answer
  throw new Refusal(
    isProblem(answer) ? answer : { code: 'internal', detail: strings.internal, hint: strings.internalHint },
  )
}

/** An address may hold what is no name of anything: that is told as a refusal, too. */
function sent(...given: Parameters<typeof callOf>): ReturnType<typeof callOf> {
  try {
    return callOf(...given)
  } catch (error) {
    throw error instanceof KeymanError ? new Refusal({ code: error.code, detail: error.message }) : error
  }
}

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'code' in value && 'detail' in value
}
