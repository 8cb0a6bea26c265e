import { access } from './access.ts'
import { actions } from './actions.ts'
import { auditTrail } from './audit-trail.ts'
import { enrolment } from './enrolment.ts'
import { grants } from './grants.ts'
import { hostSelf } from './host-stream.ts'
import { hosts } from './hosts.ts'
import { login } from './login.ts'
import { mandates } from './mandates.ts'
import { passkeys } from './passkeys.ts'
import { persons } from './persons.ts'
import { revocations } from './revocations.ts'
import type { Route } from './route.ts'
import { session } from './session.ts'
import { sessions } from './sessions.ts'
import { signIn } from './sign-in.ts'
import { ssh } from './ssh.ts'
import { teams } from './teams.ts'
import { trust } from './trust.ts'

export * as hostStream from './host-stream.ts'
export * from './problem.ts'
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
