import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { rootFingerprint, type TrustBundle, verifyTrustChain } from '#shared/trust/index.ts'
import { type Connection, call } from './client.ts'
import type { Context } from './context.ts'

/** What is known of a server before its bundle was read: an address, and the fingerprint of its root that came another way. */
export type FirstContact = { readonly machinesUrl: string; readonly rootFingerprint: string }

/**
 * Fetches the trust bundle and believes it only by the pinned root: the connection itself proves nothing yet. With a
 * context the chain of bundles must go forward from the one that is held.
 */
export async function fetchTrust(server: FirstContact | Context, pinned: Context | undefined): Promise<Context> {
  const connection: Connection = { url: server.machinesUrl, root: undefined }
  const { bundles } = await call(connection, api.trust.show, {
    query: pinned ? { after: pinned.bundleVersion - 1 } : {},
  })
  const bundle = pinned
    ? verifyTrustChain(bundles, { held: pinned.bundle })
    : verifyTrustChain(bundles, { fingerprint: server.rootFingerprint })
  const newest = bundles.at(-1)
  if (!newest) throw new KeymanError('internal', `${server.machinesUrl} has no trust bundle`)
  return contextFrom(bundle, newest, server.machinesUrl, pinned)
}

function contextFrom(
  bundle: TrustBundle,
  signed: Context['bundle'],
  machinesUrl: string,
  pinned: Context | undefined,
): Context {
  const machines = bundle.x509.find(authority => authority.purpose === 'machines')
  if (!machines)
    throw new KeymanError('internal', `the trust bundle of ${bundle.organisation} names no machine authority`)
  return {
    organisation: bundle.organisation,
    machinesUrl: pinned?.machinesUrl ?? machinesUrl,
    publicUrl: bundle.publicUrl,
    rootFingerprint: rootFingerprint(bundle.roots),
    bundle: { document: signed.document, signatures: [...signed.signatures] },
    bundleVersion: bundle.version,
    machinesRoot: bundle.x509
      .filter(authority => authority.purpose === 'machines')
      .map(authority => authority.certificate)
      .join('\n'),
    logKey: bundle.logKey,
    hostAuthorities: bundle.ssh.hostAuthorities.map(authority => authority.key),
    hostSuffixes: bundle.hostSuffixes,
    ...(pinned?.checkpoint === undefined ? {} : { checkpoint: pinned.checkpoint }),
  }
}
