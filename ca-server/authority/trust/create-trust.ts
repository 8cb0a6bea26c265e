import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { By } from '#server/access/index.ts'
import type { Act } from '#server/identity/index.ts'
import type { Ledger } from '#server/ledger/index.ts'
import { insist, type Store } from '#server/store/index.ts'
import { toBase64, toBase64Url, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { formatPublicKey, parsePublicKey } from '#shared/ssh/index.ts'
import {
  encodeTrustDocument,
  parseTrustDocument,
  rootFingerprint,
  type SignedBundle,
  type TrustBundle,
  type TrustRoots,
  verifyTrustChain,
} from '#shared/trust/index.ts'
import type { Authority, LogKey } from '../port.ts'
import { insertBundle, type StoredBundle, selectBundles } from './records.ts'
import { makeRootKey, type RootKey, readRootKey } from './root-key.ts'

export type TrustDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn'>
  readonly act: Act
  readonly authority: Pick<Authority, 'trusted'>
  readonly logKey: Pick<LogKey, 'name' | 'publicKey'>
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
  /** `root/root_key` lies below it. */
  readonly dataFolder: string
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
  /** The next document: what the server holds now, with these roots or those of today. */
  next(roots?: TrustRoots): Promise<string>
  /** Throws `denied` where too few roots have signed, `conflict` where it is not what the server holds now. */
  publish(signed: SignedBundle, by: By): Promise<{ version: number }>
  /** Reads what another server may have published. */
  reload(): Promise<void>
  /** Hears of what other servers publish. */
  start(): Promise<void>
  stop(): Promise<void>
}

/** Reads the newest bundle; makes root key and first bundle where there is none; publishes what changed if it can sign. */
export async function createTrust(deps: TrustDeps): Promise<Trust> {
  const rootKeyFile = join(deps.dataFolder, 'root', 'root_key')
  let newest = await newestBundle(deps.store)
  if (!newest) {
    const root = (await readRootKey(rootKeyFile)) ?? (await makeRootKey(rootKeyFile, deps.random))
    const roots = { threshold: 1, keys: [formatPublicKey(root.publicKey)] }
    await insert(
      deps,
      signedBy(root, encodeTrustDocument({ ...held(deps), version: 1, roots })),
      undefined,
      SERVER(deps),
    )
    newest = await newestBundle(deps.store)
    if (!newest) throw new KeymanError('internal', 'the first trust bundle is not there')
  }
  const nextDocument = (base: TrustBundle, roots = base.roots) =>
    encodeTrustDocument({ ...held(deps), version: base.version + 1, roots })
  const changed = (base: TrustBundle) =>
    encodeTrustDocument({ ...held(deps), version: base.version, roots: base.roots }) !== encodeTrustDocument(base)

  let current = parseTrustDocument(newest.signed.document)
  const root = await readRootKey(rootKeyFile)
  if (changed(current) && root && signsAlone(root, current.roots)) {
    await insert(deps, signedBy(root, nextDocument(current)), current, SERVER(deps))
    current = (await readNewest(deps.store)) ?? current
  }

  const reload = async (): Promise<void> => {
    current = (await readNewest(deps.store)) ?? current
  }
  const stops: (() => void | Promise<void>)[] = []

  return {
    rootKeyFile,
    reload,
    async start() {
      const hearing = insist(reload, deps.onError ?? (() => {}))
      stops.push(await deps.store.listen('trust', hearing.run), hearing.stop)
    },
    async stop() {
      for (const stop of stops.splice(0)) await stop()
    },
    async bundles(after = 0) {
      return (await selectBundles(deps.store, after)).map(({ signed }) => signed)
    },
    rootFingerprint: () => rootFingerprint(current.roots),
    async holdsRootKey() {
      const key = await readRootKey(rootKeyFile)
      return key !== undefined && current.roots.keys.includes(formatPublicKey(key.publicKey))
    },
    async pending() {
      const base = (await readNewest(deps.store)) ?? current
      return changed(base) ? nextDocument(base) : undefined
    },
    async next(roots) {
      const base = (await readNewest(deps.store)) ?? current
      const plain = roots && { threshold: roots.threshold, keys: roots.keys.map(withoutComment) }
      return nextDocument(base, plain)
    },
    async publish(signed, by) {
      const base = await newestBundle(deps.store)
      if (!base) throw new KeymanError('internal', 'there is no trust bundle to go on from')
      const before = parseTrustDocument(base.signed.document)
      const bundle = parseTrustDocument(signed.document)
      if (bundle.version <= before.version)
        throw new KeymanError('conflict', `trust bundle ${before.version} is published already`, {
          hint: 'fetch the next document anew: keyman trust sign',
        })
      verifyTrustChain([base.signed, signed], { held: base.signed })
      if (signed.document !== nextDocument(before, bundle.roots))
        throw new KeymanError('conflict', 'the document is not what this server holds now', {
          hint: 'fetch the next document anew: keyman trust sign',
        })
      await insert(deps, signed, before, by)
      current = bundle
      return { version: bundle.version }
    },
  }
}

/** Everything but version and roots: what this server would have others trust. */
function held(deps: TrustDeps): Omit<TrustBundle, 'version' | 'roots'> {
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
    logKey: { name: deps.logKey.name, key: toBase64(deps.logKey.publicKey) },
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
      },
    ])
    await t.execute(`select pg_notify('trust', $1)`, [String(bundle.version)])
  })
}

const newestBundle = async (store: Store): Promise<StoredBundle | undefined> =>
  (await selectBundles(store, 2 ** 31 - 1)).at(-1)
const readNewest = async (store: Store): Promise<TrustBundle | undefined> => {
  const bundle = await newestBundle(store)
  return bundle && parseTrustDocument(bundle.signed.document)
}
const signedBy = (root: RootKey, document: string): SignedBundle => ({ document, signatures: [root.sign(document)] })
const signsAlone = (root: RootKey, roots: TrustRoots): boolean =>
  roots.threshold === 1 && roots.keys.includes(formatPublicKey(root.publicKey))
const withoutComment = (line: string): string => formatPublicKey(parsePublicKey(line, 'roots.keys'))
const SERVER = (deps: TrustDeps): By => ({
  actor: { kind: 'server' },
  requestId: `req_${toBase64Url(deps.random(12))}`,
})
