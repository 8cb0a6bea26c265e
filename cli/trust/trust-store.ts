import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  parseTrustDocument,
  rootFingerprint,
  type SignedBundle,
  type TrustBundle,
  verifyTrustChain,
} from '#shared/trust/index.ts'
import { type Context, type Pin, readContext } from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { type Connection, call } from '../server/client.ts'

/** What is known of a server before its bundle was read: an address, and the fingerprint of its root that came another way. */
export type FirstContact = { readonly machinesUrl: string; readonly rootFingerprint: string }

/** What the root of trust vouches for, the host names that its organisation claims now, and those of them agreed to before. */
export type Trusted = { readonly pin: Pin; readonly claims: readonly string[]; readonly agreed: readonly string[] }

/** Names are agreed to by a person, at login; meanwhile an organisation can only give some up. */
export const stillClaimed = (agreed: readonly string[], claims: readonly string[]): string[] =>
  agreed.filter(suffix => claims.includes(suffix))

/**
 * Fetches the trust bundle and believes it only by the fingerprint: the connection itself proves nothing yet. Where the
 * organisation is pinned here already, its chain must go forward from that pin too, so nobody is talked into another root.
 */
export async function firstContact(server: FirstContact, folders: Folders): Promise<Trusted> {
  const bundles = await fetchBundles(server.machinesUrl, 0).catch((error: unknown) => {
    // The pages' listener is a KeyMan that has no such address, where everybody's trust begins.
    if (!(error instanceof KeymanError) || error.code !== 'not-found') throw error
    throw new KeymanError('invalid-input', `${server.machinesUrl} is the address of the pages, which is for browsers`, {
      hint: `keyman goes to the address for machines, https://${new URL(server.machinesUrl).hostname}:4443 unless your administrator says another`,
      cause: error,
    })
  })
  const bundle = verifyTrustChain(bundles, { fingerprint: server.rootFingerprint })
  const held = readContext(folders, bundle.organisation)
  if (held) goesForward(bundles, held)
  return trusted(bundle, bundles, server.machinesUrl, held)
}

/** The newest bundle of an organisation that is pinned; it must go forward from the one that is held. `url`: where it is asked. */
export async function refreshTrust(held: Context, url = held.machinesUrl): Promise<Trusted> {
  const bundles = await fetchBundles(url, held.bundleVersion)
  const bundle = goesForward(bundles, held)
  return trusted(bundle, bundles, addressBy(bundle, held, url), held)
}

/** An address that the root has signed anew is followed; else the one that was reached is kept. */
const addressBy = ({ machinesUrl }: TrustBundle, held: Context, reached: string): string =>
  parseTrustDocument(held.bundle.document).machinesUrl === machinesUrl ? reached : machinesUrl

/** What was signed here and published: held as it was signed, since a server that serves another has gone back, or never published it. */
export const publishedTrust = (held: Context, signed: SignedBundle): Trusted => {
  const bundle = verifyTrustChain([signed], { held: held.bundle })
  return trusted(bundle, [signed], addressBy(bundle, held, held.machinesUrl), held)
}

async function fetchBundles(url: string, after: number): Promise<readonly SignedBundle[]> {
  const connection: Connection = { url, root: undefined }
  const { bundles } = await call(connection, api.trust.show, { query: { after } })
  return bundles
}

function goesForward(bundles: readonly SignedBundle[], held: Context): TrustBundle {
  try {
    return verifyTrustChain(bundles, { held: held.bundle })
  } catch (error) {
    if (!(error instanceof KeymanError) || error.code !== 'denied') throw error
    throw new KeymanError('denied', `this is not the ${held.organisation} that is pinned here: ${error.message}`, {
      hint: 'if it was set up anew on purpose: keyman logout --all, then keyman login; else tell your administrator',
      cause: error,
    })
  }
}

function trusted(
  bundle: TrustBundle,
  bundles: readonly SignedBundle[],
  machinesUrl: string,
  held: Context | undefined,
): Trusted {
  const signed = bundles.at(-1)
  if (!signed) throw new KeymanError('internal', `${machinesUrl} has no trust bundle`)
  const pin: Pin = {
    organisation: bundle.organisation,
    machinesUrl,
    publicUrl: bundle.publicUrl,
    rootFingerprint: rootFingerprint(bundle.roots),
    // The very document that is held was verified when it came; signatures beside it now were not.
    bundle:
      signed.document === held?.bundle.document
        ? held.bundle
        : { document: signed.document, signatures: [...signed.signatures] },
    bundleVersion: bundle.version,
    machinesRoot: bundle.x509
      .filter(authority => authority.purpose === 'machines')
      .map(authority => authority.certificate)
      .join('\n'),
    logKey: bundle.logKey,
    otherLogKeys: bundle.otherLogKeys ?? [],
    hostAuthorities: bundle.ssh.hostAuthorities.map(authority => authority.key),
  }
  return { pin, claims: bundle.hostSuffixes, agreed: stillClaimed(held?.hostSuffixes ?? [], bundle.hostSuffixes) }
}
