import { createHash } from 'node:crypto'
import type { By } from '#server/access/index.ts'
import type { Act } from '#server/identity/index.ts'
import { incarnationFact, type Ledger } from '#server/ledger/index.ts'
import { follow, type Store } from '#server/store/index.ts'
import { toBase64Url, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { formatPublicKey, parsePublicKey } from '#shared/ssh/index.ts'
import {
  compareNext,
  encodeTrustDocument,
  type NamedChange,
  parseTrustDocument,
  rootFingerprint,
  type SignedBundle,
  type TrustBundle,
  type TrustRoots,
  verifyNext,
} from '#shared/trust/index.ts'
import { logKeysToName, type ServerLogKeys } from '../log-keys.ts'
import type { Authority } from '../port.ts'
import { insertBundle } from './records.ts'
import { makeRootKey, type RootKey, readRootKey } from './root-key.ts'
import { type Addresses, bundleFact, type VerifiedBundles } from './verified.ts'

export type TrustDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn' | 'facts'>
  readonly act: Act
  readonly authority: Pick<Authority, 'trusted'>
  readonly logKeys: Pick<ServerLogKeys, 'name' | 'held'>
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
  readonly bundles: VerifiedBundles
  readonly rootKeyFile: string
  readonly organisation: string
  /** Hears of failures in the background. */
  readonly onError?: (error: unknown) => void
  /** Origins, without a slash at their end. */
  readonly publicUrl: string
  readonly machinesUrl: string
  readonly hostSuffixes: readonly string[]
}

export interface Trust {
  /** Oldest first: those that changed the root, above `after`, and the newest. */
  bundles(after?: number): Promise<SignedBundle[]>
  /** What machines pin, `SHA256:…`, of the newest bundle's roots. */
  rootFingerprint(): string
  /** Where the root key lies on this server: what `doctor` tells, and how to move it. */
  readonly rootKeyFile: string
  /** Whether the server itself can sign the next bundle. */
  holdsRootKey(): Promise<boolean>
  /** The document that waits to be signed because this server holds other keys or addresses than were published; `undefined` if none does. */
  pending(): Promise<string | undefined>
  /**
   * Publishes what the server holds now, where it is another than the bundle says and the server has the root key. `false` where it has not: then
   * it waits for a ceremony.
   */
  publishHeld(): Promise<boolean>
  /** The next document: what the server holds now, with these roots or those of today. */
  next(roots?: TrustRoots): Promise<string>
  /** Throws `denied` where too few roots have signed, `conflict` where it is not what the server holds now. */
  publish(signed: SignedBundle, by: By): Promise<{ version: number }>
  /** Reads what another server may have published. */
  reload(): Promise<void>
  /** Called once there is a newer bundle, whoever published it. */
  onChange(listener: () => void): () => void
  /** Hears of what other servers publish. */
  start(): Promise<void>
  stop(): Promise<void>
}

/**
 * Makes root key and first bundle where there is none; publishes what changed if it can sign. Throws `denied` where this
 * server is not one of the organisation and history whose bundle was verified, `conflict` where its addresses are others.
 */
export async function createTrust(deps: TrustDeps): Promise<Trust> {
  const { bundles, rootKeyFile } = deps
  if (!bundles.current()) {
    const made = (await readRootKey(rootKeyFile)) ?? (await makeRootKey(rootKeyFile, deps.random))
    const roots = { threshold: 1, keys: [formatPublicKey(made.publicKey)] }
    const first = signedBy(made, encodeTrustDocument({ ...held(deps, undefined), version: 1, roots }))
    await insert(deps, first, undefined, SERVER(deps))
    await bundles.begin(first)
  }
  const nextDocument = (base: TrustBundle, roots = base.roots) =>
    encodeTrustDocument({ ...held(deps, base), version: base.version + 1, roots })
  const changed = (base: TrustBundle) =>
    encodeTrustDocument({ ...held(deps, base), version: base.version, roots: base.roots }) !== encodeTrustDocument(base)
  const current = (): TrustBundle => {
    const bundle = bundles.current()
    if (!bundle) throw new KeymanError('internal', 'there is no trust bundle to go on from')
    return bundle
  }
  /** Throws `unavailable` where the database holds another. */
  const newest = async () => (await bundles.refresh()) ?? current()
  /** What this server has itself, once it is the bundle's: from then on a difference is a change of its configuration. */
  const agree = async () => {
    if (sameAddresses(addressesOf(deps), current())) await bundles.agree(addressesOf(deps))
  }

  refuseForeign(deps, await newest())
  const publishHeld = async (): Promise<boolean> => {
    const root = await readRootKey(rootKeyFile)
    if (changed(current()) && root && signsAlone(root, current().roots)) {
      const signed = signedBy(root, nextDocument(current()))
      compareNext(current(), parseTrustDocument(signed.document), HELD_CHANGES)
      await insert(deps, signed, current(), SERVER(deps))
      await newest()
    }
    await agree()
    return !changed(current())
  }
  await publishHeld()

  let told = current().version
  const following = follow({
    store: deps.store,
    channels: ['trust'],
    what: 'which keys are to be trusted',
    async read() {
      await bundles.read()
      await agree()
      const { version } = current()
      const isNew = version !== told
      told = version
      return isNew
    },
    // For whoever deletes a row or puts an older database in place, and notifies nobody.
    everyMs: LOOK_EVERY,
    onError: deps.onError,
  })

  return {
    rootKeyFile,
    reload: following.read,
    onChange: following.onChange,
    start: following.start,
    stop: following.stop,
    publishHeld,
    bundles: after => bundles.read(after),
    rootFingerprint: () => rootFingerprint(current().roots),
    async holdsRootKey() {
      const key = await readRootKey(rootKeyFile)
      return key !== undefined && current().roots.keys.includes(formatPublicKey(key.publicKey))
    },
    async pending() {
      const base = await newest()
      return changed(base) ? nextDocument(base) : undefined
    },
    async next(roots) {
      const plain = roots && { threshold: roots.threshold, keys: roots.keys.map(withoutComment) }
      return nextDocument(await newest(), plain)
    },
    async publish(signed, by) {
      const before = await newest()
      const base = bundles.signed()
      if (!base) throw new KeymanError('internal', 'there is no trust bundle to go on from')
      const bundle = parseTrustDocument(signed.document)
      if (bundle.version <= before.version)
        throw new KeymanError('conflict', `trust bundle ${before.version} is published already`, {
          hint: 'fetch the next document anew: keyman trust sign',
        })
      verifyNext(base, signed, CEREMONY_CHANGES)
      if (signed.document !== nextDocument(before, bundle.roots))
        throw new KeymanError('conflict', 'the document is not what this server holds now', {
          hint: 'fetch the next document anew: keyman trust sign',
        })
      await insert(deps, signed, before, by)
      await newest()
      await agree()
      return { version: bundle.version }
    },
  }
}

const LOOK_EVERY = 30_000
/** What this server's own set-up may change. The incarnation only by an operator's command, whose record `refuseForeign` asks for. */
const HELD_CHANGES: readonly NamedChange[] = ['incarnation', 'addresses', 'host-suffixes', 'log-key']
/** And what those decide who sign: they have named it to their own `keyman trust`. */
const CEREMONY_CHANGES: readonly NamedChange[] = [...HELD_CHANGES, 'roots', 'threshold']

const addressesOf = ({ publicUrl, machinesUrl, hostSuffixes }: Addresses): Addresses => ({
  publicUrl,
  machinesUrl,
  hostSuffixes,
})
const spelled = (of: Addresses): string => JSON.stringify([of.publicUrl, of.machinesUrl, [...of.hostSuffixes].sort()])
const sameAddresses = (a: Addresses, b: Addresses): boolean => spelled(a) === spelled(b)

/** A second server on the database that is set up otherwise is not one of ours: nothing of it is published. */
function refuseForeign(deps: TrustDeps, bundle: TrustBundle): void {
  if (deps.organisation !== bundle.organisation)
    throw new KeymanError(
      'denied',
      `this server is of the organisation ${deps.organisation}, its database of ${bundle.organisation}`,
      { hint: `set organisation = "${bundle.organisation}", or give it a database of its own` },
    )
  const { incarnation } = deps.store
  if (incarnation !== bundle.incarnation && !deps.ledger.facts.holds(incarnationFact(incarnation)))
    throw new KeymanError(
      'denied',
      `the database is of the incarnation ${incarnation}, which the root of trust has not signed`,
      { hint: 'somebody changed the database: no server takes a new history on its own; see docs/trust.md' },
    )
  if (sameAddresses(deps, bundle)) return
  // It has had the bundle's addresses, and the bundle is still the same: so its configuration was changed.
  const agreed = deps.bundles.agreed()
  if (agreed && sameAddresses(agreed, bundle)) return
  throw new KeymanError(
    'conflict',
    `this server has other addresses than the organisation's: ${spelled(deps)}, where the root of trust signed ${spelled(bundle)}`,
    {
      hint: 'set public_url, machines.url and host_suffixes as the other servers have them; a change begins at a server that has run with those of today',
    },
  )
}

/** Everything but version and roots: what this server would have others trust. */
function held(deps: TrustDeps, before: TrustBundle | undefined): Omit<TrustBundle, 'version' | 'roots'> {
  const { userAuthorities, hostAuthorities, machines } = deps.authority.trusted()
  return {
    format: 'keyman-trust-v1',
    organisation: deps.organisation,
    incarnation: deps.store.incarnation,
    publicUrl: deps.publicUrl,
    machinesUrl: deps.machinesUrl,
    hostSuffixes: deps.hostSuffixes,
    ssh: { userAuthorities, hostAuthorities },
    x509: machines.map(({ certificate, state }) => ({ purpose: 'machines' as const, certificate, state })),
    ...logKeysToName(deps.logKeys, before),
  }
}

async function insert(deps: TrustDeps, signed: SignedBundle, before: TrustBundle | undefined, by: By): Promise<void> {
  const bundle = parseTrustDocument(signed.document)
  const fingerprint = rootFingerprint(bundle.roots)
  const at = deps.now().toISOString()
  await deps.act(by, { name: 'trust bundle' }, async t => {
    const changesRoots = before === undefined || rootFingerprint(before.roots) !== fingerprint
    if (!(await insertBundle(t, { version: bundle.version, signed, changesRoots, at }))) {
      // At the start another server was first, with the same; who publishes by hand is told.
      if (by.actor.kind === 'server') return
      throw new KeymanError('conflict', `trust bundle ${bundle.version} was published meanwhile`)
    }
    const documentHash = createHash('sha256').update(utf8(signed.document)).digest('hex')
    await deps.ledger.appendIn(t, [
      {
        ...by,
        kind: 'trust-bundle',
        target: `version ${bundle.version}`,
        details: { documentHash, root: fingerprint },
        facts: [bundleFact(signed)],
      },
    ])
    await t.execute(`select pg_notify('trust', $1)`, [String(bundle.version)])
  })
}

const signedBy = (root: RootKey, document: string): SignedBundle => ({ document, signatures: [root.sign(document)] })
const signsAlone = (root: RootKey, roots: TrustRoots): boolean =>
  roots.threshold === 1 && roots.keys.includes(formatPublicKey(root.publicKey))
const withoutComment = (line: string): string => formatPublicKey(parsePublicKey(line, 'roots.keys'))
const SERVER = (deps: TrustDeps): By => ({
  actor: { kind: 'server' },
  requestId: `req_${toBase64Url(deps.random(12))}`,
})
