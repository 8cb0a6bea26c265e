import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseTrustDocument, type SignedBundle, type TrustBundle, verifyTrustChain } from '#shared/trust/index.ts'
import { type Connection, call } from './call.ts'

export type Trust = { readonly bundle: TrustBundle; readonly signed: SignedBundle }

/** What a chain of bundles is held against: a root's fingerprint at join, the bundle that is held ever after. */
export type Pinned = { readonly fingerprint: string } | { readonly held: SignedBundle }

/**
 * Reads the bundle over a connection that proves nothing, and believes it by the pinned root alone. Throws `denied` for
 * one that the root did not sign or that goes backwards.
 */
export async function fetchTrust(url: string, pinned: Pinned): Promise<Trust> {
  const connection: Connection = { url, roots: undefined }
  const { bundles } = await call(connection, api.trust.show, {})
  return verifyBundles(bundles, pinned)
}

export function verifyBundles(bundles: readonly SignedBundle[], pinned: Pinned): Trust {
  const signed = bundles.at(-1)
  if (!signed) throw new KeymanError('denied', 'the server sent no trust bundle')
  return { bundle: verifyTrustChain(bundles, pinned), signed }
}

/** The bundle that this host holds: verified when it was stored. */
export const heldBundle = (held: SignedBundle): TrustBundle => parseTrustDocument(held.document)

/** The roots that the server's TLS certificate may come from, as PEM; never the system's. */
export function machineRoots(bundle: TrustBundle): string[] {
  const roots = bundle.x509
    .filter(authority => authority.purpose === 'machines')
    .map(authority => authority.certificate)
  if (roots.length === 0) throw new KeymanError('denied', 'the trust bundle names no machine authority')
  return roots
}
