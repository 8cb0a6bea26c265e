import {
  afterCommit,
  assertOutsideTransaction,
  incarnationNumber,
  type Queryable,
  type Store,
  unlessCommitted,
} from '#server/store/index.ts'
import { endOf, type Fact, passkeyOfId, readRecord } from '#shared/audit/index.ts'
import { toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { consistencyProof, inclusionProof, leafHash } from '#shared/merkle/index.ts'
import { actorName, type Entry, encodeRecord, inRecords, type RecordParts } from './entry.ts'
import { EpochsChanged, proofUsed, requestUsed, tampered, translate } from './errors.ts'
import { FailedChanges } from './facts/failed-changes.ts'
import { lockPast, readPast } from './facts/past.ts'
import { unproven } from './facts/unproven.ts'
import { asRecorded } from './issued.ts'
import { Follower } from './log/follower.ts'
import { Group } from './log/group.ts'
import { incarnationFact } from './log/history.ts'
import { sealOf } from './log/seal.ts'
import { Sequencer } from './log/sequencer.ts'
import type { Ledger, LedgerDeps, StoredRecord } from './port.ts'
import { makeRecorded } from './recorded.ts'
import {
  type CertificateSelector,
  createEpochs,
  deleteEpochs,
  type IssuedCertificate,
  type LiveAmong,
  type RecordRow,
  selectEpochs,
  selectLiveCertificates,
  selectLiveKeys,
  selectLiveSessions,
  selectRecord,
  selectRecords,
  takeEpochs,
} from './records.ts'
import { headSize, leafHashesAt, tileReader } from './tree-store.ts'
import { type Outcome, type Row, writeRows } from './write.ts'

/** Seconds: what is revoked twice harms nobody, and what is passed over because of one clock is good for whoever's is right. */
const COLLECTED_AFTER_END = 86_400

const MAX_TOLD = 10_000

export const isEmptyLog = async (store: Store): Promise<boolean> => (await headSize(store)) === 0n

export async function createLedger({ store, origin, logKeys, sealKey, now, ...options }: LedgerDeps): Promise<Ledger> {
  const readTile = tileReader(store)
  const {
    checkpointEveryMs = 1_000,
    onError = () => {},
    alarm = () => {},
    monotonic = () => performance.now(),
    fence,
  } = options
  const { memory, trusted = [], sawEmpty = false } = options
  const follower = new Follower({ store, sealKey, readTile, memory, now })
  const sequencer = new Sequencer({
    store,
    origin,
    logKeys,
    now,
    readTile,
    follower,
    sealKey,
    memory,
    trusted,
    sawEmpty,
    checkpointEveryMs,
    fence,
    onError,
    monotonic,
  })
  /** What an alarm told of. */
  const told = new Set<string>()
  /** Whoever comes with it again and again must not fill the server's log. */
  const tellOnce = (what: string, message: string): void => {
    if (told.has(what)) return
    if (told.size >= MAX_TOLD) told.clear()
    told.add(what)
    alarm(message)
  }
  const group = new Group(store, (index, row) => follower.wrote(index, row))
  // Reads the log, holding it against what is remembered and signed: a server does not start on one that was tampered with.
  await sequencer.integrate()
  // The first one is recorded by nobody; but where another was begun it is over.
  const history = incarnationFact(store.incarnation)
  const isFirst = incarnationNumber(store.incarnation) === 1 && !follower.facts.has(history.id)
  if (!isFirst && !follower.facts.holds(history))
    throw tampered(`nobody has recorded that the history ${store.incarnation} was begun`)

  const makeRow = (entry: Entry, parts: RecordParts & { part?: number; epochs?: Row['epochs'] } = {}): Row => {
    const { part = 0, epochs = [], certificate, proof } = parts
    const at = now().toISOString()
    const { requestId, kind } = entry
    const sealed = {
      requestId,
      kind,
      part,
      actor: actorName(entry.actor),
      at,
      proof,
      record: encodeRecord(entry, at, parts),
    }
    return { ...sealed, seal: sealOf(sealKey, sealed), certificate: certificate?.facts, epochs }
  }
  const assertInTree = async (size: bigint): Promise<void> => {
    if (size < 0n || size > (await sequencer.integrate()))
      throw new KeymanError('not-found', `the audit log has no tree of ${size} records`)
  }
  const tellStrange = (index: bigint): void =>
    tellOnce(
      `record ${index}`,
      `record ${index} of the audit log is not what this server has read there: somebody changed it, or shows another`,
    )
  /** Whoever audits gets what stands there, whatever it is; that it is not what stood there is told at once. */
  const stored = async (rows: readonly RecordRow[]): Promise<StoredRecord[]> => {
    // What is in the log was committed before it was shown; once the log is known to be broken, nothing more is read of it.
    const isBeyond = ({ index }: RecordRow) => index >= follower.size && !sequencer.isBroken()
    if (rows.some(isBeyond)) await sequencer.integrate()
    for (const { index } of rows.filter(isBeyond)) tellStrange(index)
    for (const index of await unproven(rows, follower.edge, readTile)) tellStrange(index)
    const hashes = await leafHashesAt(
      store,
      rows.map(({ index }) => index),
    )
    return rows.map(row => ({
      ...row,
      leafHash: hashes.get(row.index) ?? leafHash(utf8(row.record)),
    }))
  }

  /** By transaction: see `sayIn`. */
  const said = new WeakMap<Queryable, readonly Fact[]>()
  /** By transaction: whose epochs it holds to its end. */
  const taken = new WeakMap<Queryable, Set<string>>()
  const take: Ledger['takeEpochs'] = async (t, { bump = [], share = [] }) => {
    const before = await takeEpochs(
      t,
      bump,
      share.map(({ subject }) => subject),
    )
    for (const { subject, epoch } of share) if (before.get(subject) !== epoch) throw new EpochsChanged()
    const held = taken.get(t) ?? new Set()
    taken.set(t, held)
    for (const subject of bump) held.add(subject)
    for (const { subject } of share) held.add(subject)
  }
  const assertStanding = (t: Queryable, { actor, kind }: Entry): void => {
    if (!('identity' in actor)) return
    // The principal of a workload is what its number goes by.
    const subject = actor.kind === 'person' ? `person:${actor.identity}` : actor.identity
    if (!taken.get(t)?.has(subject))
      throw new KeymanError('internal', `${kind} in the name of ${actorName(actor)}, whose epoch was not taken`)
  }

  const collected = (): bigint => BigInt(Math.floor(now().getTime() / 1000) - COLLECTED_AFTER_END)
  /** Those that had not ended by then, in seconds since 1970. */
  const certificates = async (
    on: Queryable,
    by: CertificateSelector,
    after: bigint,
    among?: LiveAmong,
  ): Promise<IssuedCertificate[]> => recorded(on, by, await selectLiveCertificates(on, by, after, among))
  const recorded = (on: Queryable, by: CertificateSelector, named: readonly IssuedCertificate[]) => {
    // Of a log that was taken over; the store's own tiles can't be read inside of a transaction.
    const unprovenIn = (rows: Parameters<typeof unproven>[0]) => unproven(rows, follower.edge, tileReader(on))
    return asRecorded(on, { sealKey, size: follower.size, unproven: unprovenIn, alarm }, by, named)
  }

  const write = async (t: Queryable, entries: readonly Entry[]): Promise<void> => {
    const split = inRecords(entries)
    // Locked: a record is made for the place that it gets, after just these.
    const ends = split.flatMap(entry => endOf(entry) ?? [])
    // Of the same moment as the edge.
    const isOver = ends.some(({ id, at }) => (follower.facts.saidAt(id)?.toString() ?? '') !== at)
    const past = split.some(({ facts }) => facts && facts.length > 0) ? await lockPast(t, follower.edge) : undefined
    const after = past?.edge.size
    const isUnseen = split.some(
      ({ target, confirmed }) =>
        target !== undefined &&
        confirmed !== undefined &&
        (follower.facts.passkeyBeside(target, confirmed) !== undefined ||
          past?.read.some(record => record.includes(JSON.stringify(passkeyOfId(target, '')).slice(0, -1)))),
    )
    if (isUnseen || isOver || ends.some(({ id }) => past?.read.some(record => record.includes(JSON.stringify(id)))))
      throw new KeymanError('conflict', 'what this was decided from has changed meanwhile', { hint: 'try again' })
    const seen = new Map<string, number>()
    const rows = split.map((entry, place) => {
      const key = `${entry.kind} ${entry.requestId}`
      const part = seen.get(key) ?? 0
      seen.set(key, part + 1)
      const row = makeRow(entry, { part, after, place, root: past && toHex(past.edge.root()) })
      past?.edge.append([leafHash(utf8(row.record))])
      return row
    })
    const outcomes = await writeRows(t, rows).catch((error: unknown) => {
      throw translateUnique(error)
    })
    // In a caller's transaction a record that is there already means that the change was made already.
    const written = rows.map((row, n) => {
      const index = outcomes[n]
      if (typeof index !== 'bigint') throw requestUsed()
      return { index, row }
    })
    afterCommit(() => {
      for (const { index, row } of written) follower.wrote(index, row)
    })
  }
  const failed = new FailedChanges(store, (t, entry) => write(t, [entry]), onError)

  return {
    async append(entry) {
      assertOutsideTransaction('recording on its own')
      sequencer.assertWhole()
      return indexOf(await group.write(makeRow(entry)))
    },

    sayIn(t, facts) {
      said.set(t, [...(said.get(t) ?? []), ...facts])
    },

    async appendIn(t, given) {
      const [first, ...others] = given
      if (!first) return
      const entries = [{ ...first, facts: [...(said.get(t) ?? []), ...(first.facts ?? [])] }, ...others]
      said.delete(t)
      for (const entry of entries) assertStanding(t, entry)
      sequencer.assertWhole()
      failed.assertSaid()
      const { requestId } = first
      unlessCommitted(() => failed.hear(requestId))
      await write(t, entries)
    },

    async issue({ entry, body, bodyHash, certificate, epochs, proof }) {
      assertOutsideTransaction('issuing')
      sequencer.assertWhole()
      // The age counts from here, not from when the row came back: that may have taken its time.
      const since = performance.now()
      const row = makeRow(entry, { certificate: { facts: certificate, bodyHash: toHex(bodyHash) }, proof, epochs })
      return makeRecorded(body, indexOf(await group.write(row)), since)
    },

    async forgetEpochs(t, subjects) {
      if (subjects.length > 0) await deleteEpochs(t, subjects)
    },
    async readEpochs(subjects) {
      const found = await selectEpochs(store, subjects)
      if (subjects.every(subject => found.has(subject))) return found
      await createEpochs(store, subjects)
      return selectEpochs(store, subjects)
    },

    takeEpochs: (t, rows) => take(t, rows),
    async saysMore(t, of) {
      const { read } = await readPast(t, follower.edge)
      return read.some(text => of(readRecord(text)))
    },
    bumpEpochs: (t, subjects) => take(t, { bump: subjects }),
    liveCertificates: (t, by, among) => certificates(t, by, collected(), among),
    liveKeys: (t, by, authorities) => selectLiveKeys(t, by, collected(), authorities),
    liveSessions: async (t, by) => recorded(t, by, await selectLiveSessions(t, by, collected())),
    certificate: async (on, by) => (await certificates(on, by, 0n))[0],

    list: async filter => stored(await selectRecords(store, filter)),
    async show(index) {
      const row = await selectRecord(store, index)
      if (row?.index !== index) {
        // Nobody is told of a record that is there that it is not, and nobody hears of it.
        if (index >= 0n && index < follower.size) tellStrange(index)
        return undefined
      }
      return (await stored([row]))[0]
    },

    async vouched(read, factsOf, all) {
      if (!sequencer.isFresh()) await sequencer.integrate()
      const strange = (row: Parameters<typeof factsOf>[0]) => factsOf(row).find(fact => !follower.facts.holds(fact))
      let rows = await read()
      // Both change while the server works: twice is enough for what was changed by one of us.
      for (let attempt = 0; attempt < 2 && rows.some(strange); attempt++) {
        await sequencer.integrate()
        rows = await read()
      }
      if (rows.some(strange)) await sequencer.integrate()
      const missing = (shown: typeof rows, of: Iterable<string>): string[] => {
        const ids = new Set(shown.flatMap(row => factsOf(row).map(({ id }) => id)))
        return [...of].filter(id => !ids.has(id) && follower.facts.has(id))
      }
      let hidden = all === undefined ? [] : missing(rows, follower.facts.ids(all))
      if (hidden.length > 0) {
        // What was there before it was read again, and is there after it.
        const again = await read()
        await sequencer.integrate()
        hidden = missing(again, hidden)
      }
      for (const id of hidden) tellOnce(`no ${id}`, `the database does not show ${id}, which the audit log knows`)
      return rows.filter(row => {
        const fact = strange(row)
        if (fact)
          tellOnce(
            fact.id,
            `${fact.id} in the database is not what the audit log says: somebody changed it; it counts for nothing`,
          )
        return fact === undefined
      })
    },
    newestAt: () => follower.newestAt,
    facts: {
      has: id => follower.facts.has(id),
      isGone: id => follower.facts.isGone(id),
      holds: fact => follower.facts.holds(fact),
      saidAt: id => follower.facts.saidAt(id),
      isOlder: (id, than) => follower.facts.isOlder(id, than),
      ids: kind => follower.facts.ids(kind),
    },
    async recordOf(on, id) {
      const index = follower.facts.saidAt(id)
      const row = index === undefined ? undefined : await selectRecord(on, index)
      return row && readRecord(row.record)
    },
    onFacts: listener => follower.onFacts(listener),
    follow: async () => void (await sequencer.integrate()),
    checkHistory: () => sequencer.checkHistory(),
    assertFresh: () => sequencer.assertFresh(),

    hear: note => sequencer.hear(note),
    checkpoint: () => sequencer.checkpoint(),
    async inclusionProof(index, size) {
      await assertInTree(size)
      if (index < 0n || index >= size) throw new KeymanError('not-found', `a log of ${size} has no record ${index}`)
      return inclusionProof(index, size, readTile)
    },
    async consistencyProof(from, to) {
      await assertInTree(to)
      if (from < 0n || from > to)
        throw new KeymanError('not-found', `a log of ${from} records is not the beginning of one of ${to}`)
      return consistencyProof(from, to, readTile)
    },
    start: () => sequencer.start(),
    stop() {
      failed.stop()
      return sequencer.stop()
    },
  }
}

const translateUnique = (error: unknown): unknown => {
  const translated = translate(error)
  // In a caller's transaction only the constraints are the ledger's to name; the rest is for whoever runs the transaction.
  return translated instanceof KeymanError && translated.code === 'conflict' ? translated : error
}

/** The index of a row that was written; else why not. */
function indexOf(outcome: Outcome): bigint {
  if (outcome === 'stale') throw new EpochsChanged()
  if (outcome === 'used') throw proofUsed()
  if (outcome === 'taken') throw requestUsed()
  return typeof outcome === 'bigint' ? outcome : outcome.again
}
