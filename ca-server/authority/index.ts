/**
 * The door of this room: what gets signed. Decide, record, sign, release; `sign.ts` is the one file that uses an authority
 * key. Also revocation, and the trust bundle that tells others which keys to trust.
 */
export { createAuthority } from './create-authority.ts'
export { HeldKeys } from './held-keys.ts'
export { createLogKeys, findLogKeys, type LogKeystore, openLogKeys, type ServerLogKeys } from './log-keys.ts'
export type {
  Authority,
  AuthorityDeps,
  AuthorityKeys,
  HostCertificateRequest,
  HostSessions,
  IssuedClientCertificate,
  IssuedSshCertificate,
  Krl,
  Origin,
  Revocation,
  RevocationTarget,
  RevokedWith,
  ServerCertificate,
  UserCertificateRequest,
  WorkloadEnds,
} from './port.ts'
export { adoptRevokedIn } from './revocation/adopt.ts'
export { MAX_CLOCKS_APART } from './revocation/prune-krl.ts'
export { beginSerialsIn } from './revocation/restore.ts'
export { revokedRows } from './revocation/stated-rows.ts'
export { serialRows } from './serials.ts'
export { authorityRows } from './stated-rows.ts'
export { type Switched, switchWithoutServer } from './switch-to-standby.ts'
export { createTrust, type Trust, type TrustDeps } from './trust/create-trust.ts'
export { rootKeyFileIn } from './trust/root-key.ts'
export {
  openBundles,
  pinnedBundle,
  putBackBundleIn,
  type UndoneSwitch,
  undoneSwitchesIn,
  type VerifiedBundles,
} from './trust/verified.ts'
