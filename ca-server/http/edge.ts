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
    const { requestId } = requestInfo(c)
    const ours = asKeymanError(error)
    if (ours.code === 'internal') onInternalError(error, requestId)
    return problem(ours, requestId)
  })
  app.notFound(c =>
    problem(new KeymanError('not-found', `there is no ${c.req.method} at this address`), requestInfo(c).requestId),
  )
  return app
}
