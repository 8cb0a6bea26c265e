/** The door of this room: who is calling. Persons, passkeys, sessions, logins, step-up, links. */

export { byPerson } from './acting.ts'
/** How old an assertion may be that an administrative action relies on, in seconds. */
export { FRESH_WITHIN } from './assertion-age.ts'
export { createIdentity } from './create-identity.ts'
export type {
  Act,
  Acting,
  Actions,
  ActionTransaction,
  At,
  BrowserCaller,
  By,
  Caller,
  Enrolment,
  Epoch,
  HostCaller,
  Identity,
  IdentityDeps,
  Logins,
  LoginTransaction,
  MachineCaller,
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
  WebauthnJson,
  Within,
} from './port.ts'
