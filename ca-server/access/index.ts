/** The door of this room: may they. Grants give; `decide` is the one function that says yes or no. */
export { type AccessDeps, createAccess } from './create-access.ts'
export { told as listed } from './describe.ts'
export type {
  Access,
  Action,
  AllowedLogin,
  By,
  CertificateLimits,
  Decide,
  Decision,
  Epoch,
  Extension,
  Given,
  Grant,
  NamedSubject,
  NewGrant,
  NewRole,
  PersonState,
  PrincipalsLine,
  Project,
  RoleChange,
  RoleView,
  SelectableHost,
  Subject,
  Team,
  Want,
  Why,
} from './port.ts'
export { takeAccessIn } from './restore.ts'
export { subjectNamed } from './snapshot.ts'
export { accessRows } from './stated-rows.ts'
export { place } from './tables.ts'
