import { utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { TRUST_NAMESPACE } from '../namespaces.ts'
import { parsePublicKey, parseSshsig, verifySshsig } from '../ssh/index.ts'
import { parseTrustDocument, type TrustBundle, type TrustRoots } from './document.ts'
import { rootFingerprint } from './roots.ts'

export type SignedBundle = {
  /** The exact text that was signed. */
  readonly document: string
  /** Armored SSHSIG. */
  readonly signatures: readonly string[]
}

/** What is trusted before the chain is read: a fingerprint that came another way, or what was verified the last time. */
export type TrustPin = { readonly fingerprint: string } | { readonly held: SignedBundle }

const MAX_BUNDLES = 1000

/**
 * Reads bundles in the order of their versions and gives the newest, or throws `denied` that says why not. Each must be
 * signed by enough of the roots of the one before it and, where it changes the roots, by enough of its own as well.
 * With a fingerprint the chain begins with the first bundle whose roots have it, signed by these. What is older than
 * the beginning is passed over; a newest one that is older than what is pinned is refused, since a chain only goes
 * forward. Throws `invalid-input` for a document that is none.
 */
export function verifyTrustChain(bundles: readonly SignedBundle[], pinned: TrustPin): TrustBundle {
  if (bundles.length > MAX_BUNDLES) throw refuse(`more than ${MAX_BUNDLES} trust bundles were given`)
  const offered = bundles.map(signed => ({ signed, bundle: parseTrustDocument(signed.document) }))
  offered.forEach(({ bundle: { version } }, i) => {
    if (i > 0 && version <= (offered[i - 1]?.bundle.version ?? 0))
      throw refuse(`trust bundle ${version} does not go forward from the one before it`)
  })
  const newest = offered.at(-1)
  if (!newest) throw refuse('no trust bundle was given')

  let trusted = beginning(offered, pinned)
  if (newest.bundle.version < trusted.version)
    throw refuse(`trust bundle ${newest.bundle.version} is older than version ${trusted.version}, which is held`)
  for (const { signed, bundle } of offered) {
    if (bundle.version <= trusted.version) continue
    demand(signed, trusted.roots, 'the root of trust before it', bundle.version)
    if (rootFingerprint(trusted.roots) !== rootFingerprint(bundle.roots))
      demand(signed, bundle.roots, 'the new root of trust', bundle.version)
    if (trusted.organisation !== bundle.organisation)
      throw refuse(`trust bundle ${bundle.version} is of another organisation, ${bundle.organisation}`)
    trusted = bundle
  }
  return newest.bundle
}

type Offered = { readonly signed: SignedBundle; readonly bundle: TrustBundle }

/** From where on the chain is read. A bundle offered of the very version that is pinned has to be the pinned one. */
function beginning(offered: readonly Offered[], pinned: TrustPin): TrustBundle {
  if ('fingerprint' in pinned) {
    const first = offered.find(({ bundle }) => rootFingerprint(bundle.roots) === pinned.fingerprint)
    if (!first)
      throw refuse(
        `no trust bundle has the root of trust ${pinned.fingerprint}`,
        'compare the fingerprint with the one that the administrator gave you',
      )
    demand(first.signed, first.bundle.roots, 'its own root of trust', first.bundle.version)
    return first.bundle
  }
  const held = parseTrustDocument(pinned.held.document)
  const same = offered.find(({ bundle }) => bundle.version === held.version)
  if (same && same.signed.document !== pinned.held.document)
    throw refuse(`there are two trust bundles of version ${held.version}: the one that is held, and the one offered`)
  return held
}

/**
 * How many different keys of these roots have signed the text in the namespace `keyman-trust`. A signature by another
 * key counts for nothing; one that does not parse throws `invalid-input`.
 */
export function signaturesFor(signed: SignedBundle, roots: TrustRoots): number {
  const message = utf8(signed.document)
  const signatures = signed.signatures.map((armored, i) => parseSshsig(armored, `signatures[${i}]`))
  return roots.keys
    .map(line => parsePublicKey(line, 'roots'))
    .filter(publicKey =>
      signatures.some(signature => verifySshsig(signature, { namespace: TRUST_NAMESPACE, message, publicKey })),
    ).length
}

function demand(signed: SignedBundle, roots: TrustRoots, whose: string, version: number): void {
  const count = signaturesFor(signed, roots)
  if (count < roots.threshold)
    throw refuse(
      `trust bundle ${version} is not signed by ${whose}: ${count} of the ${roots.threshold} signatures that are needed`,
    )
}

const refuse = (message: string, hint?: string) =>
  new KeymanError('denied', message, {
    hint: hint ?? 'nothing of it is believed; ask the administrator what changed before you go on',
  })
