import { Hono } from 'hono'
import { KeymanError } from '#shared/errors.ts'
import { asKeymanError, problem } from './problem.ts'
import { type EdgeEnv, requestInfo } from './request-info.ts'

/** Hears of errors that are none of ours, with the request ID that the client was told. */
export type OnInternalError = (error: unknown, requestId: string) => void

/** An empty application whose refusals are problem documents. Routes are added by `app.ts`. */
export function newApp(onInternalError: OnInternalError): Hono<EdgeEnv> {
  const app = new Hono<EdgeEnv>()
  app.onError((error, c) => {
    const info = requestInfo(c)
    const { requestId } = info
    const ours = asKeymanError(error)
    info.refusal = ours.code
    if (ours.code === 'internal') onInternalError(error, requestId)
    return problem(ours, requestId)
  })
  app.notFound(c => {
    const { requestId } = requestInfo(c)
    const message = `there is no ${c.req.method} at this address`
    const allowed = methodsAt(app, c.req.path)
    if (allowed.length === 0) return problem(new KeymanError('not-found', message), requestId)
    const answer = problem(new KeymanError('method-not-allowed', message), requestId)
    answer.headers.set('allow', allowed.join(', '))
    return answer
  })
  return app
}

/** What is served there, by methods: of what was added for all of them, or for all addresses, nothing. */
function methodsAt(app: Hono<EdgeEnv>, path: string): string[] {
  const pathsOf = (method: string) =>
    app.router
      .match(method, path)[0]
      .flatMap(([[, route]]) => (route.method === method && !route.path.includes('*') ? [route.path] : []))
  const found = METHODS.map(method => ({ method, paths: pathsOf(method) })).filter(({ paths }) => paths.length > 0)
  // `/v1/login/device` is never a `/v1/login/{transaction}`.
  const exact = found.filter(({ paths }) => paths.includes(path))
  return (exact.length > 0 ? exact : found).flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
}
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']
