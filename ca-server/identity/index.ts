/** The door of this room: who is calling. Persons, passkeys, sessions, logins, step-up, links. */

export { createIdentity } from './create-identity.ts'
export type {
  Act,
  Acting,
  ActingCaller,
  Actions,
  ActionTransaction,
  Asked,
  At,
  BrowserCaller,
  By,
  Caller,
  Consent,
  Enrolment,
  Epoch,
  HostCaller,
  Identity,
  IdentityDeps,
  Logins,
  LoginTransaction,
  MachineCaller,
  NamedSession,
  OpenSession,
  Passkeys,
  PasskeyView,
  PersonBy,
  PersonCaller,
  Persons,
  PersonView,
  Proofs,
  Redeemed,
  Role,
  SentLink,
  SessionCaller,
  SessionSshKey,
  SessionView,
  SignedIn,
  SignIns,
  Standing,
  Touches,
  WebauthnJson,
  Within,
  WorkloadBy,
  WorkloadCaller,
  WorkloadSessions,
} from './port.ts'
export { SupersededKey } from './port.ts'
export { sessionKeyFact, sessionKeysOf } from './records/facts.ts'
export { newSessionId } from './records/secrets.ts'
export { identityRows } from './records/stated-rows.ts'
export { suspendAllIn } from './restore.ts'
export { endEverything } from './sessions/end-everything.ts'
export { sessionSshKey } from './sessions/sessions.ts'
export { byPerson, byWorkload, makerOf } from './touches/acting.ts'
