/**
 * The ledger: the audit log and the one way to a certificate's record. Record, then sign, then release: what exists is always
 * a subset of what the log says, whatever crashes when.
 */
import {
  afterCommit,
  assertOutsideTransaction,
  incarnationNumber,
  type Queryable,
  type Store,
} from '#server/store/index.ts'
import { toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { consistencyProof, inclusionProof, leafHash } from '#shared/merkle/index.ts'
import {
  actorName,
  type CertificateFacts,
  type Entry,
  encodeRecord,
  inRecords,
  type RecordKind,
  type RecordParts,
} from './entry.ts'
import { EpochsChanged, proofUsed, requestUsed, tampered, translate } from './errors.ts'
import type { Fact } from './facts.ts'
import { Follower } from './follower.ts'
import { Group } from './group.ts'
import { incarnationFact } from './history.ts'
import { asRecorded } from './issued.ts'
import type { LogMemory } from './memory.ts'
import { makeRecorded, type Recorded } from './recorded.ts'
import {
  type CertificateSelector,
  createEpochs,
  type Epoch,
  type IssuedCertificate,
  type RecordRow,
  selectEpochs,
  selectLiveCertificates,
  selectRecord,
  selectRecords,
  takeEpochs,
} from './records.ts'
import { sealOf } from './seal.ts'
import { type LogKey, Sequencer } from './sequencer.ts'
import { headSize, leafHashesAt, lockHead, tileReader } from './tree-store.ts'
import { type Outcome, type Row, writeRows } from './write.ts'

export { adoptLog, readUnsealedLog, type UnsealedLog } from './adopt.ts'
export { canonicalJson, type JsonObject, type JsonValue } from './canonical-json.ts'
export { type Actor, actorName, type CertificateFacts, type Entry, RECORD_KINDS, type RecordKind } from './entry.ts'
export { EpochsChanged } from './errors.ts'
export type { Fact } from './facts.ts'
export { incarnationFact, logName } from './history.ts'
export { type LogMemory, openLogMemory } from './memory.ts'
export { MAX_AGE_MS, Recorded } from './recorded.ts'
export type { CertificateSelector, Epoch, IssuedCertificate } from './records.ts'
export { beginIncarnation, type Lost, whatIsLost } from './restore.ts'
export type { StatedRows } from './rows.ts'
export { makeSealKey, openSealKey, serverSecret } from './server-secret.ts'

export type IssueRequest<Body> = {
  entry: Entry
  /** What comes back in the `Recorded`: the certificate's body, to be signed. */
  body: Body
  /** SHA-256 of the bytes that will be signed. */
  bodyHash: Uint8Array
  certificate: CertificateFacts
  /** What the decision was made from, as `readEpochs` gave it before. */
  epochs: readonly Epoch[]
  /** The id of a challenge whose use must be unique. */
  proof?: string
}

export type StoredRecord = {
  index: bigint
  requestId: string
  kind: string
  actor: string
  at: Date
  /** Canonical JSON, exactly as written: its UTF-8 bytes are the leaf. */
  record: string
  /** As the tree holds it; where the record is not in the tree yet, computed from its text. */
  leafHash: Uint8Array
}

export interface Ledger {
  /** Records and gives the index; durable when it resolves. Throws `conflict`, `too-large`, `unavailable`. */
  append(entry: Omit<Entry, 'facts'>): Promise<bigint>
  /**
   * Records with the caller's change, in its transaction: as its last statements, because the lock on the log's head is held until
   * the commit. Everything that the entries' facts are about is locked by then. Entries of one call may share request ID and
   * kind; of one whose facts are too many for a record several are made. Throws `conflict` where such a record exists already,
   * and `internal` for an entry in the name of a person whose epoch this transaction did not take: whether that person may still
   * do it was looked at before the transaction, and may not hold any more (see `identity.act`).
   */
  appendIn(t: Queryable, entries: readonly Entry[]): Promise<void>
  /** What the first record of this transaction says beside its own facts. Where there is none, nothing was done, and nothing is said. */
  sayIn(t: Queryable, facts: readonly Fact[]): void
  /**
   * Records that this body may be signed, if what the decision was made from still holds. Throws `EpochsChanged` where it does not
   * (nothing was recorded: decide anew), `expired` for a proof that was used, `conflict`, `too-large`, `unavailable`.
   */
  issue<Body>(request: IssueRequest<Body>): Promise<Recorded<Body>>
  /** The epochs of these subjects, such as `person:alice@example.com`, `session:…`, `host:…`. Those that are missing are created at 1. */
  readEpochs(subjects: readonly string[]): Promise<Map<string, bigint>>
  /**
   * The FIRST statements of every transaction that does something in somebody's name: teams first, if any, by a call of their
   * own; then whoever asks and whomever it touches, all of them at once. Takes the rows in one order, those of `bump` to change them, those
   * of `share` so that nobody else does. Throws `EpochsChanged` where one of `share` is not as it was read, or is missing.
   */
  takeEpochs(
    t: Queryable,
    rows: { readonly bump?: readonly string[]; readonly share?: readonly Epoch[] },
  ): Promise<void>
  /**
   * `takeEpochs` to change alone: the FIRST statement of every transaction that takes something away: waits for what is being issued under the old epochs, and
   * makes everything decided under them be decided anew. What it has to find is found by the next statement.
   */
  bumpEpochs(t: Queryable, subjects: readonly string[]): Promise<void>
  /**
   * Certificates that have not ended, by a clock that may be a day ahead; those too whose row was taken away, where their record names
   * whose they are. For revoking: a statement of its own after `bumpEpochs`, which then sees all of them.
   */
  liveCertificates(t: Queryable, by: CertificateSelector): Promise<IssuedCertificate[]>
  /** In order: from `from` on; without `from` the last `limit`, below `before` where given. */
  list(filter: {
    from?: bigint
    before?: bigint
    limit: number
    kind?: RecordKind
    actor?: string
  }): Promise<StoredRecord[]>
  show(index: bigint): Promise<StoredRecord | undefined>
  /**
   * Rows that the log vouches for: what `read` gives, without those that are not what the newest record about them says. Where
   * one is not, the log is followed and the rows are read again, since both may have changed meanwhile; what is still not in
   * the log then was put there by somebody else, counts for nothing, and is told as an alarm. Throws `unavailable` where the log
   * can not be read, `internal` where it was tampered with.
   */
  vouched<Row>(read: () => Promise<readonly Row[]>, factsOf: (row: Row) => readonly Fact[]): Promise<Row[]>
  /** What the log says, of what was followed last: see `assertFresh`. */
  readonly facts: {
    /** Whether there is such a thing, whatever it is. */
    has(id: string): boolean
    /** Whether it said that there was such a thing, and then that it is gone. */
    isGone(id: string): boolean
    holds(fact: Fact): boolean
    /** The record that said the newest of it. */
    saidAt(id: string): bigint | undefined
    /** Whether the newest that it said of the one was said before the newest of the other. */
    isOlder(id: string, than: string): boolean
    /** All IDs that there are of this kind, such as `grant:`. */
    ids(kind: string): Iterable<string>
  }
  /** Hears which facts were set, each time the log has been followed. Gives what ends it. */
  onFacts(listener: (ids: readonly string[]) => void): () => void
  /** Reads what is committed. Throws `internal` where the log was tampered with. */
  follow(): Promise<void>
  /** Reads the whole log once more, slowly, and holds it against what was followed. Throws `internal` as `follow` does. */
  checkHistory(): Promise<void>
  /** Throws `unavailable` where the log was last followed more than five seconds ago, `internal` where it was tampered with. */
  assertFresh(): void
  /**
   * Holds the log against a checkpoint that a host shows. Where the log's key has signed it and this log does not come by it, records
   * were lost: nothing is recorded or issued any more (`unavailable`), after a restart neither; gives what is wrong. Throws
   * `invalid-input` for one that the key has not signed.
   */
  hear(note: string): Promise<string | undefined>
  /** The newest checkpoint, a signed note, of at least everything committed before the call. May wait for the next second. */
  checkpoint(): Promise<string>
  /** Throws `not-found` where the tree of that size has no such record, or does not exist. */
  inclusionProof(index: bigint, size: bigint): Promise<Uint8Array[]>
  /** Throws `not-found` where `from` is more than `to`, or the tree has not come to `to`. */
  consistencyProof(from: bigint, to: bigint): Promise<Uint8Array[]>
  /** Begins to put records into the tree and to sign its head, each second. For the elected server. */
  start(): void
  /** Ends that with a last checkpoint. Rejects where that could not be made. */
  stop(): Promise<void>
}

export type LedgerDeps = {
  store: Store
  /** The log's name in its checkpoints, such as `keyman.example.com/log`. */
  origin: string
  logKey: LogKey
  /** 32 bytes that only the servers of this organisation have: see `seal.ts`. */
  sealKey: Uint8Array
  now: () => Date
  /** What this server remembers outside of the database. */
  memory?: LogMemory | undefined
  /** Checkpoints that an operator trusts, signed notes; the log has to come by them. */
  trusted?: readonly string[]
  /**
   * Whether the log was empty when this server looked first (`isEmptyLog`): of several that start for the first time together
   * one makes the keys, and the others find its records.
   */
  sawEmpty?: boolean
  /** Milliseconds; `performance.now` unless given. */
  monotonic?: () => number
  /** Hears of what somebody has changed in the database. */
  alarm?: (message: string) => void
  /** At most one checkpoint in this time; 1,000 unless given. */
  checkpointEveryMs?: number
  /** Hears of a failure in the background; the next checkpoint tries again. */
  onError?: (error: unknown) => void
}

/** Seconds: what is revoked twice harms nobody, and what is passed over because of one clock is good for whoever's is right. */
const COLLECTED_AFTER_END = 86_400

const MAX_TOLD = 10_000

export const isEmptyLog = async (store: Store): Promise<boolean> => (await headSize(store)) === 0n

export async function createLedger({ store, origin, logKey, sealKey, now, ...options }: LedgerDeps): Promise<Ledger> {
  const readTile = tileReader(store)
  const {
    checkpointEveryMs = 1_000,
    onError = () => {},
    alarm = () => {},
    monotonic = () => performance.now(),
  } = options
  const { memory, trusted = [], sawEmpty = false } = options
  const follower = new Follower({ store, sealKey, readTile, memory, now })
  const sequencer = new Sequencer({
    store,
    origin,
    logKey,
    now,
    readTile,
    follower,
    sealKey,
    memory,
    trusted,
    sawEmpty,
    checkpointEveryMs,
    onError,
    monotonic,
  })
  /** The IDs of rows that an alarm told of. */
  const told = new Set<string>()
  const group = new Group(store, (index, row) => follower.wrote(index, row))
  // Reads the log, holding it against what is remembered and signed: a server does not start on one that was tampered with.
  await sequencer.integrate()
  if (incarnationNumber(store.incarnation) > 1 && !follower.facts.holds(incarnationFact(store.incarnation)))
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
  const stored = async (rows: readonly RecordRow[]): Promise<StoredRecord[]> => {
    const hashes = await leafHashesAt(
      store,
      rows.map(({ index }) => index),
    )
    return rows.map(({ request_id, ...row }) => ({
      ...row,
      requestId: request_id,
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
    if (actor.kind === 'person' && !taken.get(t)?.has(`person:${actor.identity}`))
      throw new KeymanError('internal', `${kind} in the name of ${actor.identity}, whose epoch was not taken`)
  }

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
      // Locked: two that say something of the same thing at once, under no other lock, would each be an old record to the
      // other, and the log would be taken for one that was tampered with.
      const split = inRecords(entries)
      const after = split.some(({ facts }) => facts && facts.length > 0) ? await lockHead(t) : undefined
      const seen = new Map<string, number>()
      const rows = split.map(entry => {
        const key = `${entry.kind} ${entry.requestId}`
        const part = seen.get(key) ?? 0
        seen.set(key, part + 1)
        return makeRow(entry, { part, after })
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
    },

    async issue({ entry, body, bodyHash, certificate, epochs, proof }) {
      assertOutsideTransaction('issuing')
      sequencer.assertWhole()
      // The age counts from here, not from when the row came back: that may have taken its time.
      const since = performance.now()
      const row = makeRow(entry, { certificate: { facts: certificate, bodyHash: toHex(bodyHash) }, proof, epochs })
      return makeRecorded(body, indexOf(await group.write(row)), since)
    },

    async readEpochs(subjects) {
      const found = await selectEpochs(store, subjects)
      if (subjects.every(subject => found.has(subject))) return found
      await createEpochs(store, subjects)
      return selectEpochs(store, subjects)
    },

    takeEpochs: (t, rows) => take(t, rows),
    bumpEpochs: (t, subjects) => take(t, { bump: subjects }),
    async liveCertificates(t, by) {
      const after = BigInt(Math.floor(now().getTime() / 1000) - COLLECTED_AFTER_END)
      const named = await selectLiveCertificates(t, by, after)
      // The first passkey came before all that was issued, or was said once more when the log was taken over.
      const first = follower.facts.saidAt('relying-party')
      const isAdopted = (index: bigint) => first === undefined || index < first
      return asRecorded(t, { sealKey, isAdopted, alarm }, by, named)
    },

    list: async filter => stored(await selectRecords(store, filter)),
    async show(index) {
      const row = await selectRecord(store, index)
      return row && (await stored([row]))[0]
    },

    async vouched(read, factsOf) {
      if (!sequencer.isFresh()) await sequencer.integrate()
      const strange = (row: Parameters<typeof factsOf>[0]) => factsOf(row).find(fact => !follower.facts.holds(fact))
      let rows = await read()
      // Both change while the server works: twice is enough for what was changed by one of us.
      for (let attempt = 0; attempt < 2 && rows.some(strange); attempt++) {
        await sequencer.integrate()
        rows = await read()
      }
      if (rows.some(strange)) await sequencer.integrate()
      return rows.filter(row => {
        const fact = strange(row)
        if (fact && !told.has(fact.id)) {
          // Once: whoever comes with it again and again must not fill the server's log.
          if (told.size >= MAX_TOLD) told.clear()
          told.add(fact.id)
          alarm(`${fact.id} in the database is not what the audit log says: somebody changed it; it counts for nothing`)
        }
        return fact === undefined
      })
    },
    facts: {
      has: id => follower.facts.has(id),
      isGone: id => follower.facts.knows(id) && !follower.facts.has(id),
      holds: fact => follower.facts.holds(fact),
      saidAt: id => follower.facts.saidAt(id),
      isOlder: (id, than) => follower.facts.isOlder(id, than),
      ids: kind => follower.facts.ids(kind),
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
    stop: () => sequencer.stop(),
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
