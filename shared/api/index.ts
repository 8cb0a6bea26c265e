import { access } from './resources/access.ts'
import { auditTrail } from './resources/audit-trail.ts'
import { enrolment } from './resources/enrolment.ts'
import { grants } from './resources/grants.ts'
import { hostSelf } from './resources/host-stream.ts'
import { hosts } from './resources/hosts.ts'
import { login } from './resources/login.ts'
import { passkeys } from './resources/passkeys.ts'
import { persons } from './resources/persons.ts'
import { projects } from './resources/projects.ts'
import { revocations } from './resources/revocations.ts'
import { roles } from './resources/roles.ts'
import { session, sessions } from './resources/sessions.ts'
import { signIn } from './resources/sign-in.ts'
import { ssh } from './resources/ssh.ts'
import { teams } from './resources/teams.ts'
import { actions, mandates } from './resources/touches.ts'
import { trust } from './resources/trust.ts'
import { workloadSelf, workloads } from './resources/workloads.ts'
import type { Route } from './route.ts'

export * from './answer.ts'
export * from './call.ts'
export * from './catalogue.ts'
export * from './problem.ts'
export * as hostStream from './resources/host-stream.ts'
export * from './route.ts'
export * as schemas from './schemas.ts'
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
  roles,
  projects,
  access,
  revocations,
  mandates,
  hosts,
  hostSelf,
  workloads,
  workloadSelf,
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
