import { X509Certificate } from 'node:crypto'
import { toBase64 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { ed25519Key, fingerprint, parsePublicKey, publicKeyFromSpki } from '../ssh/index.ts'
import { type SignedBundle, signaturesFor, verifyTrustChain } from './chain.ts'
import { type AuthorityState, logKeysOf, parseTrustDocument, type TrustBundle } from './document.ts'

/** Pure: what the next trust bundle changes, for whoever signs it and for the server that publishes it. */

/** What changes only where somebody has named that very change. The organisation never changes. */
export const NAMED_CHANGES = ['incarnation', 'addresses', 'host-suffixes', 'roots', 'threshold', 'log-key'] as const
export type NamedChange = (typeof NAMED_CHANGES)[number]

export type KeyPurpose = 'root' | 'ssh-user' | 'ssh-host' | 'machines' | 'log'
export type KeyDifference = {
  readonly purpose: KeyPurpose
  /** As `ssh-keygen -l` prints it; of a certificate, that of its key. */
  readonly fingerprint: string
  readonly how: 'added' | 'removed' | 'changed'
  /** Of an authority key: its state before, and after. */
  readonly before?: AuthorityState
  readonly after?: AuthorityState
}
export type Difference =
  | { readonly change: NamedChange; readonly what: string; readonly before: string; readonly after: string }
  | { readonly change: 'roots' | 'authority-keys' | 'log-key'; readonly key: KeyDifference }

/** Every difference but the version, in the order of the document. None: the same is signed once more. */
export function compareBundles(before: TrustBundle, after: TrustBundle): Difference[] {
  const found: Difference[] = []
  const value = (change: NamedChange, what: string, old: string, next: string) => {
    if (old !== next) found.push({ change, what, before: old, after: next })
  }
  value('incarnation', 'incarnation', before.incarnation, after.incarnation)
  value('addresses', 'public_url', before.publicUrl, after.publicUrl)
  value('addresses', 'machines.url', before.machinesUrl, after.machinesUrl)
  value('host-suffixes', 'host_suffixes', sorted(before.hostSuffixes), sorted(after.hostSuffixes))
  value('threshold', 'signatures needed', String(before.roots.threshold), String(after.roots.threshold))
  for (const key of compareKeys('root', rootsOf(before), rootsOf(after))) found.push({ change: 'roots', key })
  for (const [purpose, of] of AUTHORITY_KEYS)
    for (const key of compareKeys(purpose, of(before), of(after))) found.push({ change: 'authority-keys', key })
  value('log-key', 'log', before.logKey.name, after.logKey.name)
  for (const key of compareKeys('log', logKeys(before), logKeys(after))) found.push({ change: 'log-key', key })
  return found
}

/** Changes that are there and were not named, each once. */
export const unnamed = (differences: readonly Difference[], named: readonly NamedChange[]): NamedChange[] =>
  NAMED_CHANGES.filter(change => !named.includes(change) && differences.some(found => found.change === change))

/**
 * That a document may follow: the same organisation, the next version, and no change but those that were named. Gives what
 * changes. Throws `denied`, and `conflict` for a version that was taken meanwhile.
 */
export function compareNext(before: TrustBundle, after: TrustBundle, named: readonly NamedChange[]): Difference[] {
  if (after.organisation !== before.organisation)
    throw new KeymanError(
      'denied',
      `the next trust bundle is of another organisation, ${after.organisation}, than ${before.organisation}`,
      { hint: 'an organisation never changes its name: nothing was signed' },
    )
  if (after.version !== before.version + 1)
    throw new KeymanError('conflict', `trust bundle ${after.version} does not come next after ${before.version}`, {
      hint: 'fetch the next document anew: keyman trust sign',
    })
  const differences = compareBundles(before, after)
  const missing = unnamed(differences, named)
  if (missing.length > 0)
    throw new KeymanError(
      'denied',
      `the next trust bundle changes what nobody named: ${missing.map(change => describeChange(change, differences)).join('; ')}`,
      { hint: `if that is meant: ${missing.map(change => `--change ${change}`).join(' ')}; if not, sign nothing` },
    )
  return differences
}

/**
 * The same of what was signed: by enough of the roots *before* it, by enough of its own where they change, and by each root
 * that it adds, so that nobody hands the trust to a key that nobody has.
 */
export function verifyNext(held: SignedBundle, signed: SignedBundle, named: readonly NamedChange[]): Difference[] {
  const before = parseTrustDocument(held.document)
  const after = parseTrustDocument(signed.document)
  const differences = compareNext(before, after, named)
  verifyTrustChain([signed], { held })
  const unproven = unprovenRoots(before, signed)
  if (unproven.length > 0)
    throw new KeymanError('denied', `a root key that is added has not signed: ${unproven.join(', ')}`, {
      hint: 'each added root proves by a signature of its own that somebody has it',
    })
  return differences
}

/** As `keyman-server authority list` prints it, and `ssh-keygen -l` any key. */
export const logKeyFingerprint = (key: Uint8Array): string => fingerprint(ed25519Key(key))

/** By purpose and fingerprint, such as `ssh-user SHA256:…`: what the bundle says of each authority key. */
export function authorityStates(bundle: TrustBundle): Map<string, AuthorityState> {
  const states = new Map<string, AuthorityState>()
  for (const [purpose, of] of AUTHORITY_KEYS)
    for (const [print, { state }] of of(bundle)) if (state) states.set(`${purpose} ${print}`, state)
  return states
}

/** Fingerprints of the roots that are added and have not signed. */
export function unprovenRoots(before: TrustBundle, signed: SignedBundle): string[] {
  const after = parseTrustDocument(signed.document)
  return after.roots.keys
    .filter(key => !before.roots.keys.includes(key))
    .filter(key => signaturesFor(signed, { threshold: 1, keys: [key] }) === 0)
    .map(key => fingerprint(parsePublicKey(key, 'roots')))
}

function describeChange(change: NamedChange, differences: readonly Difference[]): string {
  const parts = differences
    .filter(found => found.change === change)
    .map(found =>
      'key' in found ? `${found.key.fingerprint} ${found.key.how}` : `${found.what} ${found.before} -> ${found.after}`,
    )
  return `${change} (${parts.join(', ')})`
}

type Listed = { readonly state?: AuthorityState; readonly text: string }
/** By fingerprint. */
type Keys = ReadonlyMap<string, Listed>

function compareKeys(purpose: KeyPurpose, before: Keys, after: Keys): KeyDifference[] {
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((print): KeyDifference[] => {
    const [old, next] = [before.get(print), after.get(print)]
    if (old?.text === next?.text) return []
    const how = old === undefined ? 'added' : next === undefined ? 'removed' : 'changed'
    const states = { ...(old?.state ? { before: old.state } : {}), ...(next?.state ? { after: next.state } : {}) }
    return [{ purpose, fingerprint: print, how, ...states }]
  })
}

/** A key that is listed twice, or a certificate that takes the place of another of the same key, is a change too. */
function keysOf(listed: readonly { readonly print: string; readonly state?: AuthorityState; readonly text: string }[]) {
  const keys = new Map<string, Listed>()
  for (const { print, text, ...rest } of listed)
    keys.set(print, { ...rest, text: `${keys.get(print)?.text ?? ''}\n${rest.state ?? ''} ${text}` })
  return keys
}
const ofLines = (lines: readonly { readonly key: string; readonly state?: AuthorityState }[]): Keys =>
  keysOf(lines.map(({ key, ...rest }) => ({ ...rest, print: ofLine(key), text: key })))
const logKeys = (bundle: TrustBundle): Keys =>
  keysOf(logKeysOf(bundle).map(key => ({ print: logKeyFingerprint(key), text: toBase64(key) })))
const rootsOf = ({ roots }: TrustBundle): Keys => ofLines(roots.keys.map(key => ({ key })))
const AUTHORITY_KEYS: readonly (readonly ['ssh-user' | 'ssh-host' | 'machines', (bundle: TrustBundle) => Keys])[] = [
  ['ssh-user', ({ ssh }) => ofLines(ssh.userAuthorities)],
  ['ssh-host', ({ ssh }) => ofLines(ssh.hostAuthorities)],
  [
    'machines',
    ({ x509 }) =>
      keysOf(x509.map(({ certificate, state }) => ({ state, print: ofCertificate(certificate), text: certificate }))),
  ],
]
const ofLine = (line: string): string => fingerprint(parsePublicKey(line, 'key'))
const ofCertificate = (pem: string): string =>
  fingerprint(
    publicKeyFromSpki(new Uint8Array(new X509Certificate(pem).publicKey.export({ format: 'der', type: 'spki' }))),
  )
const sorted = (names: readonly string[]): string => [...names].sort().join(', ')
