/**
 * The door: the trust bundle, which says which keys of an organisation are to be trusted, signed by its root of trust
 * and by nothing that a server holds after the root was moved away. Pure.
 */
export { type SignedBundle, signaturesFor, type TrustPin, verifyTrustChain } from './chain.ts'
export {
  authorityStates,
  compareBundles,
  compareNext,
  type Difference,
  type KeyDifference,
  type KeyPurpose,
  logKeyFingerprint,
  NAMED_CHANGES,
  type NamedChange,
  unprovenRoots,
  verifyNext,
} from './compare.ts'
export {
  type AuthorityState,
  encodeTrustDocument,
  logKeysOf,
  logOf,
  MAX_LOG_KEYS,
  parseTrustDocument,
  type TrustBundle,
  type TrustRoots,
} from './document.ts'
export { rootFingerprint } from './roots.ts'
