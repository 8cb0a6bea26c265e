import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Fact, Ledger } from '#server/ledger/index.ts'
import type { Pins } from '#server/pins/index.ts'
import type { Queryable, Store } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import {
  parseTrustDocument,
  rootFingerprint,
  type SignedBundle,
  type TrustBundle,
  verifyTrustChain,
} from '#shared/trust/index.ts'
import { statesIn } from '../known-keys.ts'
import { type KeyRow, type Purpose, selectKeys, setSigner } from '../records.ts'
import { isSigner, signerFact, stateOf } from '../signers.ts'
import { insertBundle, type StoredBundle, selectBundles } from './records.ts'
import { readRootKey, rootKeyFileIn } from './root-key.ts'

/**
 * The trust bundles as the root of trust has signed them, not as the database says: each reading goes forward from the
 * newest that was verified, which is pinned outside of the database.
 */
export interface VerifiedBundles {
  /** The newest that was verified; undefined at the very first start alone. */
  current(): TrustBundle | undefined
  signed(): SignedBundle | undefined
  /**
   * Reads what the database holds, takes in what follows from what is held, and gives, oldest first, those above `after`
   * that changed the root, and the newest verified one. What does not follow is an alarm and counts for nothing.
   */
  read(after?: number): Promise<SignedBundle[]>
  /** The same; throws `unavailable` where the database does not hold the newest verified one, or what does not follow from it. */
  refresh(): Promise<TrustBundle | undefined>
  /** At the very first start: what this server itself has signed and published. */
  begin(signed: SignedBundle): Promise<void>
  /** The addresses that this server had when they were last the bundle's. */
  agreed(): Addresses | undefined
  /** Remembers that this server has the bundle's addresses. */
  agree(addresses: Addresses): Promise<void>
}

const addresses = z.strictObject({
  publicUrl: z.string(),
  machinesUrl: z.string(),
  hostSuffixes: z.array(z.string()).readonly(),
})
export type Addresses = z.infer<typeof addresses>

const pin = z.strictObject({
  document: z.string(),
  signatures: z.array(z.string()),
  agreed: addresses.optional(),
})
const localFile = z.object({ rootFingerprint: z.string() })

type Deps = {
  readonly store: Store
  /** Given where this server found the log empty when it looked first: whoever was quicker is one of ours if the sealed log says so. */
  readonly ledger?: { readonly facts: Pick<Ledger['facts'], 'holds'> }
  readonly pins: Pins
  readonly dataFolder: string
  /** From the configuration: what the chain of bundles must come by. */
  readonly rootFingerprint?: string | undefined
  readonly alarm: (message: string) => void
}
/** What the record of a bundle says. */
export const bundleFact = ({ document }: SignedBundle): Fact => ({
  id: `trust-bundle:${parseTrustDocument(document).version}`,
  is: document,
})
type Verified = { readonly signed: SignedBundle; readonly bundle: TrustBundle }

/** What this server has verified last, without its database. */
export async function pinnedBundle(pins: Pick<Pins, 'read'>): Promise<TrustBundle | undefined> {
  const kept = await pins.read('trust-bundle', pin)
  return kept && ownWord({ document: kept.document, signatures: kept.signatures }).bundle
}

/**
 * A backup was put back: the bundle that this server has verified last is newer than those of the database, and nobody accepts an older one
 * any more. Gives what it wrote, which the record has to say.
 */
export async function putBackBundleIn(
  { facts }: { readonly facts: Pick<Ledger['facts'], 'holds' | 'has'> },
  t: Queryable,
  pins: Pick<Pins, 'read'>,
  at: Date,
): Promise<readonly Fact[]> {
  const kept = await pins.read('trust-bundle', pin)
  if (!kept) return []
  const { signed, bundle } = ownWord({ document: kept.document, signatures: kept.signatures })
  const newest = (await selectBundles(t, 2 ** 31 - 1)).at(-1)
  if (!newest || newest.version >= bundle.version) return []
  const before = parseTrustDocument(newest.signed.document)
  const changesRoots = rootFingerprint(before.roots) !== rootFingerprint(bundle.roots)
  await insertBundle(t, { version: bundle.version, signed, changesRoots, at: at.toISOString() })
  return [bundleFact(signed), ...(await putBackSigners(facts, t, bundle))]
}

function isActiveIn(bundle: TrustBundle, row: KeyRow): boolean {
  try {
    return statesIn(bundle, row).includes('active')
  } catch {
    // No key at all: the start tells of it.
    return false
  }
}

/** A backup of before a switch to the standby keys knows nothing of it, and its log may know of an older one. */
async function putBackSigners(
  facts: Pick<Ledger['facts'], 'holds' | 'has'>,
  t: Queryable,
  bundle: TrustBundle,
): Promise<Fact[]> {
  const signers = (await selectKeys(t)).filter(row => isActiveIn(bundle, row) && stateOf(facts, row) !== 'active')
  for (const { purpose, label } of signers) await setSigner(t, purpose, label)
  return signers.map(({ purpose, label }) => signerFact(purpose, label))
}

/** Keys that a restore has undone as the ones that sign. */
export type UndoneSwitch = { readonly purpose: Purpose; readonly label: string }

/** `later`: what logs of after the backup said. `putBack`: what the restore says itself (`putBackBundleIn`). */
export async function undoneSwitchesIn(
  { facts }: { readonly facts: Pick<Ledger['facts'], 'holds' | 'has'> },
  t: Queryable,
  later: readonly Pick<Ledger['facts'], 'holds' | 'has'>[],
  putBack: readonly Fact[],
): Promise<UndoneSwitch[]> {
  const again = new Set(putBack.map(({ id }) => id))
  return (await selectKeys(t))
    .filter(row => later.some(said => isSigner(said, row) === true))
    .filter(row => !again.has(signerFact(row.purpose, row.label).id) && stateOf(facts, row) !== 'active')
    .map(({ purpose, label }) => ({ purpose, label }))
}

/** Throws `denied` for a database whose bundles do not follow from what is pinned, `unavailable` where nothing is pinned but should be. */
export async function openBundles(deps: Deps): Promise<VerifiedBundles> {
  const { store, pins } = deps
  const kept = await pins.read('trust-bundle', pin)
  let pinned: Verified | undefined = kept && ownWord({ document: kept.document, signatures: kept.signatures })
  let agreed = kept?.agreed
  let held = pinned

  const named = await namedRoots(deps, held !== undefined)
  const rows = await selectBundles(store, named.length > 0 ? 0 : (held?.bundle.version ?? 1) - 1)
  const newest = rows.at(-1)
  if (!newest) refuseEmpty(held, named)
  else if (!held && named.length === 0) {
    const first = rows[0]?.signed
    if (!first || !rows.every(({ signed }) => deps.ledger?.facts.holds(bundleFact(signed)))) throw unpinned()
    held = follow(rows, ownWord(first))
  } else {
    const offered = checked(rows)
    for (const { root } of named) {
      const bundle = verifyTrustChain(offered, { fingerprint: root })
      if (!pinned) held = { signed: newest.signed, bundle }
    }
    if (pinned) held = follow(rows, pinned)
  }

  const keep = async (): Promise<void> => {
    if (!held || held === pinned) return
    await pins.write('trust-bundle', { ...held.signed, agreed })
    pinned = held
  }
  await keep()

  let lastAlarm = ''
  const takeIn = async (after: number): Promise<{ rows: StoredBundle[]; wrong?: string }> => {
    const found = await selectBundles(store, Math.min(after, (held?.bundle.version ?? 1) - 1))
    try {
      if (held) held = follow(found, held)
      lastAlarm = ''
    } catch (error) {
      if (!(error instanceof KeymanError)) throw error
      const wrong = `the trust bundles in the database are not what the root of trust signed: ${error.message}`
      if (wrong !== lastAlarm) deps.alarm(`${wrong}. Version ${held?.bundle.version} is kept, which was verified`)
      lastAlarm = wrong
      return { rows: found, wrong }
    }
    await keep()
    return { rows: found }
  }

  return {
    current: () => held?.bundle,
    signed: () => held?.signed,
    async read(after = 0) {
      const { rows: found } = await takeIn(after)
      const newest = held
      if (!newest) return []
      const before = found.filter(({ version }) => version > after && version < newest.bundle.version)
      return [...before.map(({ signed }) => signed), newest.signed]
    },
    async refresh() {
      const { wrong } = await takeIn(2 ** 31 - 1)
      if (wrong !== undefined)
        throw new KeymanError('unavailable', wrong, {
          hint: 'somebody changed the database, or it was restored from a backup: see docs/trust.md',
        })
      return held?.bundle
    },
    async begin(signed) {
      held ??= ownWord(signed)
      await keep()
    },
    agreed: () => agreed,
    async agree(now) {
      if (!held || JSON.stringify(agreed) === JSON.stringify(now)) return
      agreed = now
      await pins.write('trust-bundle', { ...held.signed, agreed })
    },
  }
}

/** The newest of these, where it follows from what is held. */
function follow(rows: readonly StoredBundle[], held: Verified): Verified {
  const newest = rows.at(-1)
  if (!newest) throw new KeymanError('denied', 'there is none')
  const offered = checked(rows)
  if (newest.signed.document === held.signed.document) return held
  return { signed: newest.signed, bundle: verifyTrustChain(offered, { held: held.signed }) }
}

/** By the version in its row a bundle is found, by that in its document it counts. */
function checked(rows: readonly StoredBundle[]): SignedBundle[] {
  for (const { version, signed } of rows)
    if (parseTrustDocument(signed.document).version !== version)
      throw new KeymanError('denied', `trust bundle ${version} is another version by its document`)
  return rows.map(({ signed }) => signed)
}

/** What is read from our own pin: each bundle is signed by enough of its own roots, those of the one before or the new ones. */
function ownWord(signed: SignedBundle): Verified {
  const fingerprint = rootFingerprint(parseTrustDocument(signed.document).roots)
  return { signed, bundle: verifyTrustChain([signed], { fingerprint }) }
}

type Named = { readonly root: string; readonly by: string; readonly ran: boolean }

/**
 * Which roots the chain has to come by. Where nothing is pinned, what a server before this version left in its data folder
 * counts: the file for the CLI of this machine, and the root key.
 */
async function namedRoots(deps: Deps, isPinned: boolean): Promise<Named[]> {
  const configured = deps.rootFingerprint
  const named: Named[] = configured === undefined ? [] : [{ root: configured, by: 'trust.root_fingerprint', ran: true }]
  if (isPinned) return named
  const rootKeyFile = rootKeyFileIn(deps.dataFolder)
  const root = await readRootKey(rootKeyFile)
  const own = root && fingerprint(root.publicKey)
  // A server that made its root key and no bundle, for whatever reason, goes on.
  if (own !== undefined && configured === own) return [{ root: own, by: rootKeyFile, ran: false }]
  if (configured !== undefined) return named
  const path = join(deps.dataFolder, 'local.json')
  const local = localFile.safeParse(await readJson(path))
  if (local.success) named.push({ root: local.data.rootFingerprint, by: path, ran: true })
  if (own !== undefined) named.push({ root: own, by: rootKeyFile, ran: false })
  return named
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch {
    return undefined
  }
}

function refuseEmpty(held: Verified | undefined, named: readonly Named[]): void {
  const by = held ? `pinned here is version ${held.bundle.version}` : undefined
  const ran = named.find(name => name.ran)
  if (by === undefined && !ran) return
  throw new KeymanError('denied', `the database has no trust bundle, but ${by ?? `${ran?.by} names ${ran?.root}`}`, {
    hint: 'give the server the database that belongs to this data folder; a new organisation begins with an empty data folder',
  })
}

const unpinned = () =>
  new KeymanError(
    'unavailable',
    'nothing outside of the database says which root of trust its trust bundles come from',
    {
      hint: 'set trust.root_fingerprint (KEYMAN_TRUST_ROOT_FINGERPRINT) to what `keyman trust show` names on a machine that is signed in',
      fields: [{ field: 'trust.root_fingerprint', message: 'must name the root of trust' }],
    },
  )
