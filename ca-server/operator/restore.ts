import { randomBytes, randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { takeAccessIn } from '#server/access/index.ts'
import {
  adoptRevokedIn,
  beginSerialsIn,
  HeldKeys,
  pinnedBundle,
  putBackBundleIn,
  type UndoneSwitch,
  undoneSwitchesIn,
} from '#server/authority/index.ts'
import { endTokensIn, takeHostsIn } from '#server/hosts/index.ts'
import { suspendAllIn } from '#server/identity/index.ts'
import {
  beginIncarnation,
  type Entry,
  type Fact,
  incarnationFact,
  isEmptyLog,
  type Ledger,
  type LogMemory,
  type Lost,
  whatIsLost,
} from '#server/ledger/index.ts'
import type { Pins } from '#server/pins/index.ts'
import { incarnationId, incarnationNumber } from '#server/store/index.ts'
import { takeWorkloadsIn } from '#server/workloads/index.ts'
import { Facts } from '#shared/audit/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import type { TrustBundle } from '#shared/trust/index.ts'
import type { ServerConfig } from '../config/index.ts'
import type { Base } from '../open-base.ts'
import { openLog, withoutServer } from './without-server.ts'

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
  /** Keys that were made the ones that sign after it, and are not any more. */
  readonly undone: readonly UndoneSwitch[]
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
  const done = await opened(options, async ({ lost, ledger, base, pins, bundle: verified, memory }) => {
    const { store, keystore, standbyKeystore, awayKeystore } = base
    if (!lost)
      return { lost, incarnation: store.incarnation, suspended: [], taken: [], bare: [], places: [], undone: [] }
    const number = Math.max(lost.number, incarnationNumber(store.incarnation)) + 1
    const incarnation = incarnationId(number, randomUUID())
    const held = await HeldKeys.ask(keystore, standbyKeystore, awayKeystore)
    const later = laterFacts({ lost, memory }, store.incarnation)
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
      const undone = await undoneSwitchesIn(ledger, t, later, bundle)
      const taken = [...persons.taken, ...[...access.gone, ...hosts.gone, ...workloads.gone].map(fact => fact.id)]
      return { suspended: persons.suspended, taken, bare: hosts.bareNames, places: access.places, undone }
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

const requestId = (): string => `req_${randomBytes(12).toString('base64url')}`

/** Opens what a server opens, while none runs on this data folder, and finds what was lost. */
function opened<T>(
  { config, checkpoint, exported, hearAway = () => {}, now = () => new Date() }: RestoreOptions,
  work: (parts: Parts) => Promise<T>,
): Promise<T> {
  return withoutServer(config, async (base, pins) => {
    const { store, awayKeystore: away } = base
    if (away) hearAway(`${away.name} is away: ${away.error.message}`)
    if (await isEmptyLog(store))
      throw new KeymanError('conflict', 'the database is empty: there is no history to take up', {
        hint: 'put the backup back first, then run this again',
      })
    const bundle = await pinnedBundle(pins)
    // What the backup holds has to be whole; that it holds less than is remembered is why we are here.
    const { ledger, logKeys, memory } = await openLog(base, config, { pins, bundle, now })
    const lost = await whatIsLost({ store, memory, logKeys }, checkpoint, exported?.())
    const known = memory.head()?.incarnation ?? store.incarnation
    // Else it was cut off before its end, or another server did it.
    if (!lost && incarnationNumber(known) >= incarnationNumber(store.incarnation))
      throw new KeymanError('conflict', 'the database holds all that is remembered: nothing was lost', {
        hint: 'start the server; if a host or laptop has seen more, give its checkpoint: --checkpoint FILE',
      })
    return work({ lost, ledger, base, pins, bundle, memory })
  })
}

type Parts = {
  readonly lost: Lost | undefined
  readonly ledger: Ledger
  readonly base: Base
  readonly pins: Pins
  /** The newest that this server has verified. */
  readonly bundle: TrustBundle | undefined
  readonly memory: LogMemory
}

/** What logs of after the backup said: an export, and what this server remembers beside its database. */
function laterFacts({ lost, memory }: Pick<Parts, 'lost' | 'memory'>, own: string): Facts[] {
  const state = memory.state()
  const isLater =
    state && lost && incarnationNumber(state.incarnation) >= incarnationNumber(own) && state.size > lost.held
  return [...(isLater ? [Facts.from(state.facts)] : []), ...(lost?.newer ? [lost.newer.facts] : [])]
}

/** Signs the first checkpoint of the history that was begun, and remembers it in place of the old. */
const rememberAnew = (config: ServerConfig, now: () => Date): Promise<string> =>
  // Which keystore is away was said when this began.
  withoutServer(config, async (base, pins) => {
    const bundle = await pinnedBundle(pins)
    const { ledger } = await openLog(base, config, { pins, bundle, now, keeping: 'anew' })
    const note = await ledger.checkpoint()
    await ledger.stop()
    const file = join(config.dataFolder, 'restored-checkpoint')
    await writeFile(file, note, { mode: 0o600 })
    return file
  })
