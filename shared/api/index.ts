import { access, auditTrail, grants, hosts, mandates, persons, revocations, teams, trust } from './administration.ts'
import { hostSelf } from './host-stream.ts'
import { actions, enrolment, login, passkeys, session, signIn, ssh } from './login.ts'
import type { Route } from './route.ts'
import { sessions } from './sessions.ts'

export * as administration from './administration.ts'
export * as hostStream from './host-stream.ts'
export * as loginSchemas from './login.ts'
export * from './problem.ts'
export * from './route.ts'
export { inWords, type Line, wordsOf } from './words.ts'

/** Every route of the API, by resource. */
export const api = {
  login,
  session,
  sessions,
  ssh,
  signIn,
  enrolment,
  passkeys,
  actions,
  persons,
  teams,
  grants,
  access,
  revocations,
  mandates,
  hosts,
  hostSelf,
  auditTrail,
  trust,
}

/** All routes in one list, for the OpenAPI document and for tests that walk them. */
export const allRoutes: readonly (Route & { id: string })[] = Object.entries(api).flatMap(([resource, routes]) =>
  Object.entries(routes as Record<string, Route>).map(([name, definition]) => ({
    ...definition,
    id: `${resource}.${name}`,
  })),
)
