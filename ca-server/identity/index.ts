/** The door of this room: who is calling. Persons, passkeys, sessions, logins, step-up, links. */

export type {
  ActingCaller,
  BrowserCaller,
  Caller,
  Epoch,
  HostCaller,
  MachineCaller,
  PersonCaller,
  SessionCaller,
  SessionSshKey,
  WorkloadCaller,
  WorkloadSessions,
} from './caller.ts'
export { principalOf, SupersededKey } from './caller.ts'
export { createIdentity } from './create-identity.ts'
export type {
  Actions,
  ActionTransaction,
  Asked,
  Enrolment,
  Identity,
  IdentityDeps,
  Logins,
  LoginTransaction,
  NamedSession,
  OpenSession,
  Passkeys,
  PasskeyView,
  Persons,
  PersonView,
  Proofs,
  Redeemed,
  SentLink,
  SessionView,
  SignedIn,
  SignIns,
  Touches,
  WebauthnJson,
  Within,
} from './port.ts'
export { allSessionKeys, sessionKeyFact, sessionKeysOf } from './records/facts.ts'
export { newSessionId } from './records/secrets.ts'
export { identityRows } from './records/stated-rows.ts'
export { suspendAllIn } from './restore.ts'
export { endEverything } from './sessions/end-everything.ts'
export { sessionSshKey } from './sessions/sessions.ts'
export type { Act, Acting, At, By, Consent, PersonBy, Role, Standing, WorkloadBy } from './standing.ts'
export { byPerson, byWorkload, makerOf } from './touches/acting.ts'
export { assertRoleHolds, useByMaker } from './touches/under-role.ts'
