import { randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { takeAccessIn } from '#server/access/index.ts'
import {
  adoptRevokedIn,
  beginSerialsIn,
  findLogKey,
  HeldKeys,
  pinnedBundle,
  putBackBundleIn,
} from '#server/authority/index.ts'
import { endTokensIn, takeHostsIn } from '#server/hosts/index.ts'
import { suspendAllIn } from '#server/identity/index.ts'
import {
  beginIncarnation,
  createLedger,
  type Entry,
  type Fact,
  incarnationFact,
  isEmptyLog,
  type Ledger,
  type Lost,
  logName,
  openLogMemory,
  openSealKey,
  whatIsLost,
} from '#server/ledger/index.ts'
import { openPins, type Pins } from '#server/pins/index.ts'
import { incarnationId, incarnationNumber } from '#server/store/index.ts'
import { takeWorkloadsIn } from '#server/workloads/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { lockFolder } from '#shared/folder-lock.ts'
import type { PersonIdentity } from '#shared/names.ts'
import type { ServerConfig } from '../config/index.ts'
import { checkDataFolder } from '../data-folder.ts'
import { type Base, openBase } from '../open-base.ts'

export type RestoreOptions = {
  readonly config: ServerConfig
  /** The newest checkpoint that somebody has: a signed note. */
  readonly checkpoint?: string | undefined
  /** The lines of an export of the log from after the backup. */
  readonly exported?: (() => AsyncIterable<string>) | undefined
  /** Persons who go on without being confirmed: whoever confirms the others. */
  readonly keep: readonly PersonIdentity[]
  /** Hears of a keystore that is away, without which it goes on. */
  readonly hearAway?: (message: string) => void
  readonly now?: () => Date
}
export type Restored = {
  /** Undefined where the history had been begun before: it is remembered now, and that is all. */
  readonly lost: Lost | undefined
  readonly incarnation: string
  readonly suspended: readonly PersonIdentity[]
  /** IDs of what was taken away after the backup, and is again. */
  readonly taken: readonly string[]
  /** Names of hosts that were changed after the backup: they have no labels, no place and no further names. */
  readonly bare: readonly string[]
  /** Projects and environments that were removed after it, and are back. */
  readonly places: readonly string[]
  /** Where the first checkpoint of the new history lies, for other servers to start with. */
  readonly checkpointFile: string
}

/** An identity has at most 90 characters: they fit into a record. */
const NAMES_A_RECORD = 400

/** What `keyman-server restore` shows before it does anything. Throws `conflict` where nothing was lost. */
export const showLost = (options: RestoreOptions): Promise<Lost | undefined> =>
  opened(options, async ({ lost }) => lost)

/**
 * A backup of the database was put back: takes its history up anew, so that nothing of what was given or revoked meanwhile is given twice or
 * good again. One transaction; cut off before its end nothing has happened, and after it a second run does the rest.
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const now = options.now ?? (() => new Date())
  const done = await opened(options, async ({ lost, ledger, base: { store, keystore, standbyKeystore }, pins }) => {
    if (!lost) return { lost, incarnation: store.incarnation, suspended: [], taken: [], bare: [], places: [] }
    const number = Math.max(lost.number, incarnationNumber(store.incarnation)) + 1
    const incarnation = incarnationId(number, randomUUID())
    const held = await HeldKeys.ask(keystore, standbyKeystore)
    const verified = await pinnedBundle(pins)
    const { newer, isComplete } = lost
    const result = await store.transaction({ name: 'restore', deadlineMs: 300_000 }, async t => {
      const at = now()
      await beginIncarnation(t, incarnation, at)
      const persons = await suspendAllIn(ledger, t, { keep: options.keep, at, newer, isComplete })
      const access = newer ? await takeAccessIn(ledger, t, newer) : { gone: [], changed: [], places: [] }
      const hosts = newer ? await takeHostsIn(ledger, t, newer, at) : { gone: [], bare: [], bareNames: [] }
      await endTokensIn(t, at)
      const workloads = await takeWorkloadsIn(ledger, t, newer, at)
      const bundle = await putBackBundleIn(ledger, t, pins, at)
      const serials = await beginSerialsIn(ledger, t, { incarnation, held, bundle: verified, at })
      const facts = [
        incarnationFact(incarnation),
        ...bundle,
        ...serials.facts,
        ...persons.facts,
        ...access.gone,
        ...access.changed,
        ...hosts.gone,
        ...hosts.bare,
        ...workloads.gone,
        ...workloads.ended,
      ]
      const { krlVersion } = serials
      const about = { lost, incarnation, krlVersion, suspended: persons.suspended, keep: options.keep }
      const entries = entriesOf(about, facts)
      if (newer) {
        const id = `revocation_${randomBytes(12).toString('base64url')}`
        const by = { actor: { kind: 'operator' }, requestId: requestId() } as const
        // Of users all certificates from before are revoked, by one interval each.
        const ids = (kind: string) => [...newer.facts.ids(kind)].filter(each => !each.startsWith('revoked:ssh-user-'))
        const what = { ids, id, krlVersion, at, by, target: 'export of the log' }
        entries.push(...(await adoptRevokedIn(ledger, t, what)).entries)
      }
      const last = entries.pop()
      if (last) entries.push({ ...last, facts: [...(last.facts ?? []), ...serials.raised] })
      await ledger.appendIn(t, entries)
      const taken = [...persons.taken, ...[...access.gone, ...hosts.gone, ...workloads.gone].map(fact => fact.id)]
      return { suspended: persons.suspended, taken, bare: hosts.bareNames, places: access.places }
    })
    return { lost, incarnation, ...result }
  })
  return { ...done, checkpointFile: await rememberAnew(options.config, now) }
}

/** The first says what happened, the others who was suspended. */
function entriesOf(
  about: {
    readonly lost: Lost
    readonly incarnation: string
    readonly krlVersion: bigint
    readonly suspended: readonly string[]
    readonly keep: readonly string[]
  },
  facts: readonly Fact[],
): Entry[] {
  const { lost, incarnation, krlVersion, suspended, keep } = about
  const common = { requestId: requestId(), kind: 'restored', actor: { kind: 'operator' } } as const
  const first = {
    ...common,
    target: incarnation,
    details: {
      held: lost.held.toString(),
      lostTo: lost.size.toString(),
      root: lost.root,
      by: lost.by,
      ...(lost.newer && { exportTo: lost.newer.size.toString() }),
      krlVersion: krlVersion.toString(),
      suspended: suspended.length,
      kept: [...keep],
    },
    facts,
  }
  const entries: Entry[] = [first]
  for (let from = 0; from < suspended.length; from += NAMES_A_RECORD)
    entries.push({
      ...common,
      target: incarnation,
      details: { suspended: suspended.slice(from, from + NAMES_A_RECORD) },
    })
  return entries
}

const random = (bytes: number): Uint8Array => new Uint8Array(randomBytes(bytes))
const requestId = (): string => `req_${randomBytes(12).toString('base64url')}`

/** Opens what a server opens, while none runs on this data folder, and finds what was lost. */
async function opened<T>(
  { config, checkpoint, exported, hearAway = () => {}, now = () => new Date() }: RestoreOptions,
  work: (parts: Parts) => Promise<T>,
): Promise<T> {
  checkDataFolder(config.dataFolder)
  const unlock = lockFolder(`the data folder ${config.dataFolder}`, join(config.dataFolder, 'operator.lock'))
  try {
    const pins = openPins(config.dataFolder)
    const base = await openBase(config, () => {}, hearAway)
    try {
      const { store } = base
      if (await isEmptyLog(store))
        throw new KeymanError('conflict', 'the database is empty: there is no history to take up', {
          hint: 'put the backup back first, then run this again',
        })
      // What the backup holds has to be whole; that it holds less than is remembered is why we are here.
      const { ledger, logKey, memory } = await openLog(base, config, now)
      const lost = await whatIsLost({ store, memory, logKey }, checkpoint, exported?.())
      const known = memory.head()?.incarnation ?? store.incarnation
      // Else it was cut off before its end, or another server did it.
      if (!lost && incarnationNumber(known) >= incarnationNumber(store.incarnation))
        throw new KeymanError('conflict', 'the database holds all that is remembered: nothing was lost', {
          hint: 'start the server; if a host or laptop has seen more, give its checkpoint: --checkpoint FILE',
        })
      return await work({ lost, ledger, base, pins })
    } finally {
      await base.close()
    }
  } finally {
    unlock()
  }
}

type Parts = {
  readonly lost: Lost | undefined
  readonly ledger: Ledger
  readonly base: Base
  readonly pins: Pins
}

/** `keeping`: what it says is remembered from now on. */
async function openLog(base: Base, config: ServerConfig, now: () => Date, keeping = false) {
  const { store, logKeystore, wrappingKeystore: keystore } = base
  const logKey = await findLogKey(logKeystore, logName(config.organisation, store.incarnation))
  const sealKey = await openSealKey({ store, keystore, random, now })
  const memory = await openLogMemory(openPins(config.dataFolder))
  // Nothing of the history that was given up is remembered any more.
  const fresh = { ...memory, head: () => undefined, state: () => undefined }
  const of = { store, origin: logKey.name, logKey, sealKey, now, ...(keeping ? { memory: fresh, sawEmpty: true } : {}) }
  return { ledger: await createLedger(of), logKey, memory }
}

/** Signs the first checkpoint of the history that was begun, and remembers it in place of the old. */
async function rememberAnew(config: ServerConfig, now: () => Date): Promise<string> {
  // Which keystore is away was said when this began.
  const base = await openBase(
    config,
    () => {},
    () => {},
  )
  try {
    const { ledger } = await openLog(base, config, now, true)
    const note = await ledger.checkpoint()
    await ledger.stop()
    const file = join(config.dataFolder, 'restored-checkpoint')
    await writeFile(file, note, { mode: 0o600 })
    return file
  } finally {
    await base.close()
  }
}
