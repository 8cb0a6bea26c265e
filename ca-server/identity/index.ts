/** The door of this room: who is calling. Persons, passkeys, sessions, logins, step-up, links. */

export { createIdentity } from './create-identity.ts'
export type {
  Act,
  Acting,
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
  SessionView,
  SignedIn,
  SignIns,
  Standing,
  Touches,
  WebauthnJson,
  Within,
} from './port.ts'
export { sessionKeysOf } from './records/facts.ts'
export { identityRows } from './records/stated-rows.ts'
export { suspendAllIn } from './restore.ts'
export { endEverything } from './sessions/end-everything.ts'
export { byPerson } from './touches/acting.ts'
