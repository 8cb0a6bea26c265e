/** The door of this room: who is calling. Persons, passkeys, sessions, logins, step-up, links. */

export { byPerson } from './acting.ts'
export { createIdentity } from './create-identity.ts'
export { endEverything } from './end-everything.ts'
export { sessionKeysOf } from './facts.ts'
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
  SessionView,
  SignedIn,
  SignIns,
  Standing,
  Touches,
  WebauthnJson,
  Within,
} from './port.ts'
export { suspendAllIn } from './restore.ts'
export { identityRows } from './stated-rows.ts'
