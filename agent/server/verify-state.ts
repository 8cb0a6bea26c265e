import type { hostStream } from '#shared/api/index.ts'
import { fromBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { KRL_NAMESPACE } from '#shared/namespaces.ts'
import {
  type Certificate,
  decodeKrl,
  ed25519Key,
  isRevoked,
  type Krl,
  parseCertificate,
  parsePublicKey,
  parseSshsig,
  type SshPublicKey,
  verifyCertificate,
  verifySshsigByAny,
} from '#shared/ssh/index.ts'
import { logKeysOf, type TrustBundle } from '#shared/trust/index.ts'
import type { Memory } from '../state/memory.ts'
import { type Trust, verifyBundles } from './trust.ts'

/** Pure: what a server says is data. A desired state that passed every check; only such a one is written. */
export type VerifiedState = {
  readonly revision: number
  readonly incarnation: string
  readonly trust: Trust
  readonly userAuthorities: readonly SshPublicKey[]
  readonly principals: ReadonlyMap<string, readonly hostStream.PrincipalsLine[]>
  readonly krl: { readonly version: bigint; readonly bytes: Uint8Array }
  readonly canaries: readonly { readonly line: string; readonly certificate: Certificate }[]
  /** Whose sessions are to end. */
  readonly ends: readonly hostStream.EndOrder[]
}

const refuse = (why: string): KeymanError => new KeymanError('denied', `refused the desired state: ${why}`)

/**
 * Checks a desired state against what this host remembers. Throws `denied` where the bundle is not signed by the pinned
 * root or goes backwards, where revision or KRL go backwards within one incarnation (an older KRL would let revoked
 * certificates in), where the KRL is not signed by the log key or lacks a canary; `invalid-input` for names that do not fit.
 */
export function verifyState(state: hostStream.DesiredState, memory: Memory): VerifiedState {
  const trust = verifyBundles(state.trust.bundles, { held: memory.bundle })
  if (state.incarnation !== trust.bundle.incarnation) throw refuse("its incarnation is not the trust bundle's")
  const version = BigInt(state.krl.version)
  if (state.incarnation === memory.incarnation) {
    if (state.revision < memory.revision)
      throw refuse(`revision ${state.revision} is older than ${memory.revision}, which is in force`)
    if (version < BigInt(memory.krlVersion))
      throw refuse(`its KRL ${version} is older than ${memory.krlVersion}, which is in force`)
  }
  const userAuthorities = authorities(trust.bundle.ssh.userAuthorities)
  if (userAuthorities.length === 0) throw refuse('the trust bundle names no user authority')
  const bytes = fromBase64(state.krl.base64)
  const krl = verifyKrl(bytes, state.krl.signature, version, trust.bundle)
  const canaries = state.krl.canary.map(line => ({ line, certificate: parseCertificate(line, 'krl.canary') }))
  checkCanaries(
    krl,
    canaries.map(canary => canary.certificate),
    userAuthorities,
  )
  return {
    revision: state.revision,
    incarnation: state.incarnation,
    trust,
    userAuthorities,
    principals: new Map(Object.entries(state.principals).filter(([, lines]) => lines.length > 0)),
    krl: { version, bytes },
    canaries,
    ends: state.ends ?? [],
  }
}

/** Active and standby: a retired authority signs no more but is trusted until it leaves the bundle. */
export const authorities = (listed: readonly { readonly key: string }[]): SshPublicKey[] =>
  listed.map(authority => parsePublicKey(authority.key, 'trust.bundle'))

function verifyKrl(bytes: Uint8Array, signature: string, version: bigint, bundle: TrustBundle): Krl {
  const sig = parseSshsig(signature, 'krl.signature')
  const publicKeys = logKeysOf(bundle).map(ed25519Key)
  if (!verifySshsigByAny(sig, { namespace: KRL_NAMESPACE, message: bytes, publicKeys }))
    throw refuse('its KRL is not signed by a log key')
  const krl = decodeKrl(bytes, 'krl')
  if (krl.version !== version) throw refuse('its KRL says another version than the frame')
  return krl
}

/** Each user authority has its canary in the KRL: a KRL without it is not the real one, or would revoke nothing. */
export function checkCanaries(
  krl: Krl,
  canaries: readonly Certificate[],
  userAuthorities: readonly SshPublicKey[],
): void {
  for (const authority of userAuthorities) {
    const canary = canaries.find(certificate => verifyCertificate(certificate, [authority]))
    if (!canary) throw refuse('a user authority has no canary')
    if (!isRevoked(krl, canary)) throw refuse('its KRL does not revoke the canary')
  }
}

/** For the log: what the sizes of a state are. */
export const describe = (state: VerifiedState): string =>
  `revision ${state.revision}: ${state.principals.size} logins, KRL ${state.krl.version} (${state.krl.bytes.length} bytes), trust bundle ${state.trust.bundle.version}`
