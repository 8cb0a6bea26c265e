import type { Fence, Queryable, Store } from '#server/store/index.ts'
import type { AuditRecord, Fact } from '#shared/audit/index.ts'
import type { CertificateFacts, Entry, RecordKind } from './entry.ts'
import type { LogMemory } from './log/memory.ts'
import type { LogKeys } from './log/sequencer.ts'
import type { Recorded } from './recorded.ts'
import type { CertificateSelector, Epoch, IssuedCertificate, LiveAmong, LiveKey } from './records.ts'

/** The types of this room's door, `index.ts`. */

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
   * and `internal` for an entry in the name of a person or workload whose epoch this transaction did not take: whether they may still
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
  /** Forgets those of what is gone for good, long after whatever was decided by them: one that is asked for again begins at 1. */
  forgetEpochs(t: Queryable, subjects: readonly string[]): Promise<void>
  /**
   * The FIRST statements of every transaction that does something in somebody's name: roles first, if any, by a call of their own, teams
   * by another; then whoever asks and whomever it touches, all of them at once. Takes the rows in one order, those of `bump` to change them, those
   * of `share` so that nobody else does. Throws `EpochsChanged` where one of `share` is not as it was read, or is missing.
   */
  takeEpochs(
    t: Queryable,
    rows: { readonly bump?: readonly string[]; readonly share?: readonly Epoch[] },
  ): Promise<void>
  /**
   * Whether the log says more by now than was followed, of what is meant (`undefined`: of what is no record). In a transaction that has taken the epochs of whatever they are about, before its
   * first record: what was decided by them is to be decided anew then.
   */
  saysMore(t: Queryable, of: (record: AuditRecord | undefined) => boolean): Promise<boolean>
  /**
   * `takeEpochs` to change alone: the FIRST statement of every transaction that takes something away: waits for what is being issued under the old epochs, and
   * makes everything decided under them be decided anew. What it has to find is found by the next statement.
   */
  bumpEpochs(t: Queryable, subjects: readonly string[]): Promise<void>
  /**
   * Certificates that have not ended, by a clock that may be a day ahead; those too whose row was taken away, where their record names
   * whose they are. For revoking: a statement of its own after `bumpEpochs`, which then sees all of them.
   */
  liveCertificates(t: Queryable, by: CertificateSelector, among?: LiveAmong): Promise<IssuedCertificate[]>
  /**
   * How many there are of these authorities for each key, by the database's word, however many: a key that is revoked ends all that were
   * made for it.
   */
  liveKeys(t: Queryable, by: CertificateSelector, authorities: readonly string[]): Promise<LiveKey[]>
  /** One of each session's, as its own record says: whose they are, however many there are. */
  liveSessions(t: Queryable, by: CertificateSelector): Promise<IssuedCertificate[]>
  /** Which certificate has this serial, whenever it ended, as its own record says. */
  certificate(
    on: Queryable,
    by: { readonly authority: string; readonly serial: bigint },
  ): Promise<IssuedCertificate | undefined>
  /** In order: from `from` on; without `from` the last `limit`, below `before` where given. */
  list(filter: {
    from?: bigint
    before?: bigint
    limit: number
    kind?: RecordKind
    actor?: string
    since?: Date
    until?: Date
    /** Persons or hosts that the record names, all of them, as who did it, on whom it was done, or otherwise. */
    names?: readonly string[]
  }): Promise<StoredRecord[]>
  show(index: bigint): Promise<StoredRecord | undefined>
  /**
   * Rows that the log vouches for: what `read` gives, without those that are not what the newest record about them says. Where
   * one is not, the log is followed and the rows are read again, since both may have changed meanwhile; what is still not in
   * the log then was put there by somebody else, counts for nothing, and is told as an alarm. Throws `unavailable` where the log
   * can not be read, `internal` where it was tampered with. `all`: the kind of whose rows `read` gives all, such as `grant:`; one that the
   * log knows and that is not among them is told, too: the database may show it to others.
   */
  vouched<Row>(
    read: () => Promise<readonly Row[]>,
    factsOf: (row: Row) => readonly Fact[],
    all?: string,
  ): Promise<Row[]>
  /** When the newest record was made that was followed: what the database says of a record beside its text is anybody's word. */
  newestAt(): Date | undefined
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
  /** The record that said the newest of it, as the database shows it: what stands in it is anybody's word until `facts.holds` it. */
  recordOf(on: Queryable, id: string): Promise<AuditRecord | undefined>
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
  /** Begins to put records into the tree, each second, and to sign its head where it is this server's turn. */
  start(): void
  /** Ends that with a last checkpoint. Rejects where that could not be made. */
  stop(): Promise<void>
}

export type LedgerDeps = {
  store: Store
  /** The log's name in its checkpoints, such as `keyman.example.com/log`. */
  origin: string
  logKeys: LogKeys
  /** 32 bytes that only the servers of this organisation have: see `seal.ts`. */
  sealKey: Uint8Array
  now: () => Date
  /** For a head that is signed by the clock: `undefined` where that is another server's turn. It is this one's always unless given. */
  fence?: () => Fence | undefined
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
