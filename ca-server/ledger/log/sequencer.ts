import { type Fence, type Following, follow, LeaseLost, type Store } from '#server/store/index.ts'
import { equalBytes, toHex, utf8 } from '#shared/bytes.ts'
import { coalesce } from '#shared/coalesce.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  consistencyProof,
  encodeCheckpoint,
  encodeNote,
  noteKeyId,
  parseCheckpoint,
  type TileReader,
  TreeEdge,
  verifyCheckpoint,
  verifyConsistency,
} from '#shared/merkle/index.ts'
import { told } from '#shared/told.ts'
import { tampered } from '../errors.ts'
import { advanceTree, headSize, historyHead, newestNote, putNote, treeSize } from '../tree-store.ts'
import { checkHistory } from './check-history.ts'
import { type Follower, type KnownHead, recordsLost, rolledBack } from './follower.ts'
import { newerBy } from './history.ts'
import type { LogMemory } from './memory.ts'

/** One log may have several keys, of which each is as good as another. */
export type LogKeys = {
  readonly name: string
  /** Whichever of these has signed a head, it is one of this log. 32 bytes each, Ed25519. */
  believed(): readonly Uint8Array[]
  /** By one that can: gives which it was. Throws `unavailable` where none can. */
  sign(data: Uint8Array): Promise<{ readonly publicKey: Uint8Array; readonly signature: Uint8Array }>
}
export type SequencerDeps = {
  store: Store
  sealKey: Uint8Array
  origin: string
  logKeys: LogKeys
  now: () => Date
  readTile: TileReader
  follower: Follower
  memory?: LogMemory | undefined
  /** Checkpoints that somebody trusts, which the log has to come by at a start. */
  trusted: readonly string[]
  /** Whether there was no record yet when this server looked first. */
  sawEmpty: boolean
  /** At most one checkpoint in this time. */
  checkpointEveryMs: number
  /** Under which this server signs heads by the clock; `undefined` where another one does. */
  fence: (() => Fence | undefined) | undefined
  onError: (error: unknown) => void
  /** Milliseconds, of a clock that only goes on. */
  monotonic: () => number
}

/** Records of one step: some 5 ms, so that issuing goes on between two. */
const LEAVES_A_STEP = 512n
/** For the head that another server signs within the second. */
const LOOK_AGAIN_MS = 100
/** Facts are written beside the head this often, and at the end; a start reads the log from there on. */
const KEEP_STATE_EVERY_MS = 60_000

/**
 * Works behind: follows the log, puts what it has read into the tree, and signs the tree's head. Several servers run one
 * each, and each reads every record itself; the tree's size is compared and set, so one wins each step, and all come to the
 * same heads, because the records' order is fixed. One of them signs; where nobody does, whoever needs a head signs it.
 */
export class Sequencer {
  readonly #deps: SequencerDeps
  /** Nobody tells of new records: this server's timer asks, and whoever has to know. */
  readonly #following: Following
  #signed: { size: bigint; note: string } | undefined
  #begun = false
  /** Once the database has contradicted what is known, nothing is believed any more until somebody has looked. */
  #broken: unknown
  #signedAt = Number.NEGATIVE_INFINITY
  #keptHead = 0n
  #keptState = -1n
  #stopped = false
  #keptStateAt: number
  #timer: NodeJS.Timeout | undefined

  constructor(deps: SequencerDeps) {
    this.#deps = deps
    this.#keptStateAt = deps.monotonic()
    const { store, monotonic, onError } = deps
    const what = 'what the audit log says'
    this.#following = follow({ store, channels: [], what, read: () => this.#followOnce(), monotonic, onError })
  }

  /** Throws what was found wrong with the log, once something was. */
  assertWhole(): void {
    if (this.#broken !== undefined) throw this.#broken
  }

  isBroken(): boolean {
    return this.#broken !== undefined
  }

  isFresh(): boolean {
    return this.#following.isFresh()
  }

  /** Throws `unavailable` where the log was last followed more than five seconds ago, and what was found wrong with it. */
  assertFresh(): void {
    this.assertWhole()
    this.#following.assertFresh()
  }

  /**
   * Holds the log against a checkpoint that somebody outside shows, which a key of ours must have signed: throws `invalid-input` where it has
   * not. Where this log does not come by it, records were lost: nothing is recorded or issued from then on, nor after the
   * next start; gives what is wrong.
   */
  async hear(note: string): Promise<string | undefined> {
    const shown = this.#verify(note)
    // A history that was given up is no measure for the one that is kept.
    if (shown.olderBy > 0) return undefined
    if (shown.olderBy < 0) {
      this.#broken ??= supersededBy(parseCheckpoint(note).origin)
      return told(this.#broken).message
    }
    // What was found wrong before stays; somebody may know of more that is missing.
    if (this.#broken === undefined) await this.#catchUp()
    const { size } = this.#deps.follower
    if (shown.size <= size) return this.#assertComesBy(shown)
    this.#broken ??= recordsLost(
      `the audit log had ${shown.size} records once, and the database holds ${size}: ${shown.size - size} were lost`,
    )
    if (shown.size > this.#keptHead) {
      this.#keptHead = shown.size
      const { incarnation } = this.#deps.follower.kept()
      await this.#deps.memory?.keepHead({ incarnation, size: shown.size, root: toHex(shown.root) })
    }
    return told(this.#broken).message
  }

  /** By the tree of this process: the one in the database is whatever somebody shows at this moment. */
  async #assertComesBy({ size, root }: { size: bigint; root: Uint8Array }): Promise<string | undefined> {
    const { edge } = this.#deps.follower
    const newest = { size: edge.size, root: edge.root() }
    const proof = await consistencyProof(size, newest.size, this.#deps.readTile).catch((error: unknown) => {
      // A tile that is not there proves nothing, either.
      if (error instanceof RangeError) return []
      throw error
    })
    if (verifyConsistency({ size, root }, newest, proof)) return undefined
    this.#broken ??= recordsLost(
      `the first ${size} records of the audit log are not those that its key once signed: records were lost`,
    )
    return told(this.#broken).message
  }

  /** The newest checkpoint of at least the records that are committed now: signs one where it has to, in its turn. */
  async checkpoint(): Promise<string> {
    const { store, checkpointEveryMs, monotonic } = this.#deps
    const committed = await headSize(store)
    const begun = monotonic()
    for (;;) {
      // Somebody waits for it: where nobody signs whose turn it is, whoever is asked does.
      const turn = monotonic() - begun > 2 * checkpointEveryMs ? 'anybody' : this.#turn()
      const isDone = turn !== 'another' && (await this.#advance(turn))
      if (!isDone) await this.#adopt(committed)
      if (this.#signed && this.#signed.size >= committed) return this.#signed.note
      const wait = isDone ? this.#signedAt + checkpointEveryMs - monotonic() : LOOK_AGAIN_MS
      await new Promise(resolve => setTimeout(resolve, Math.max(1, wait)))
    }
  }

  /** Whose turn it is to sign. A server that has no others beside it signs without asking. */
  #turn(): Turn {
    const { fence } = this.#deps
    return fence ? (fence() ?? 'another') : 'anybody'
  }

  /** A head that another server has signed, if this log comes by it. */
  async #adopt(committed: bigint): Promise<void> {
    await this.#catchUp()
    if (this.#signed && this.#signed.size >= committed) return
    const newest = await newestNote(this.#deps.store)
    if (!newest || newest.size < committed) return
    // One that no key of ours has signed is somebody's row, and nothing to go by.
    const wrong = await this.hear(newest.note).catch((error: unknown) => error)
    if (wrong !== undefined) return
    const { size, origin } = parseCheckpoint(newest.note)
    // Of a history that was given up: no harm to this one, and no head of it.
    if (origin !== this.#deps.origin) return
    if (size > (this.#signed?.size ?? -1n)) this.#signed = { size, note: newest.note }
  }

  /** Reads what is committed, and puts it into the tree, without signing. Gives the tree's size. */
  async integrate(): Promise<bigint> {
    await this.#catchUp()
    return this.#deps.follower.size
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      const turn = this.#turn()
      const work = turn === 'another' ? this.#catchUp() : this.#advance(turn)
      work.catch(this.#deps.onError)
    }, this.#deps.checkpointEveryMs)
    this.#timer.unref()
  }

  /** Reads the whole log once more: see `check-history.ts`. What it finds stops everything, as it does when it is followed. */
  async checkHistory(): Promise<void> {
    const { store, sealKey, readTile, now, follower } = this.#deps
    this.assertWhole()
    await this.#orBroken(() => checkHistory({ store, sealKey, readTile, now }, follower, () => this.#stopped))
  }

  async #orBroken<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof KeymanError && error.code === 'internal') this.#broken = error
      throw error
    }
  }

  /** A last checkpoint, so that a stopped server leaves a tree that is signed to its end, and remembers it. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#signedAt = Number.NEGATIVE_INFINITY
    try {
      await this.checkpoint()
    } finally {
      if (this.#begun && this.#broken === undefined) await this.#keepState()
    }
  }

  /** Reads what is committed and signs it, where the last signature is long enough ago. Gives whether it may, as the database says. */
  async #advance(turn: Exclude<Turn, 'another'>): Promise<boolean> {
    await this.#catchUp()
    try {
      await this.#signing(async () => {
        if (this.#deps.monotonic() - this.#signedAt >= this.#deps.checkpointEveryMs) await this.#sign(turn)
      })
      return true
    } catch (error) {
      // Who does it now is told by whoever asks for the lease.
      if (error instanceof LeaseLost) return false
      throw error
    }
  }

  // Two lines: what a hanging keystore keeps from being signed is followed all the same.
  readonly #signing = oneAtATime()

  /** Reads what is committed: in a step that begins after the call, shared by all who ask meanwhile. */
  readonly #catchUp = coalesce(async () => {
    await this.#following.read()
    await this.#keepHead()
  })

  async #followOnce(): Promise<boolean> {
    this.assertWhole()
    const { follower } = this.#deps
    const before = follower.size
    await this.#orBroken(() => this.#follow())
    return follower.size !== before
  }

  async #follow(): Promise<void> {
    const { store, follower } = this.#deps
    const { size: committed, incarnation } = await historyHead(store)
    if (incarnation !== store.incarnation) throw supersededBy(incarnation ?? 'none')
    if (!this.#begun) await this.#begin(committed)
    if (committed < follower.size)
      throw rolledBack(`the database holds ${committed} records; this server has read ${follower.size}`)
    const written = follower.written()
    for (;;) {
      const published = await treeSize(store)
      if (published < follower.size)
        throw rolledBack(`the database's tree has ${published} records; this server has read ${follower.size}`)
      const behind = follower.size < published
      // What was committed since is for the next time: on a busy server there is always more, in ever smaller steps.
      if (!behind && follower.size >= committed && follower.size >= written) break
      const step = await follower.look(behind ? min(published - follower.size, LEAVES_A_STEP) : LEAVES_A_STEP)
      if (!step) break
      // Another server was faster: what it put there is read, and held against what we make of it.
      if (!behind && !(await advanceTree(store, step.from, step.to, step.tiles))) continue
      step.take()
      if (behind && follower.size === published) await this.#assertTiles()
    }
    // A record that was committed is not there; whoever asks for a checkpoint of it would wait for ever.
    if (follower.size < committed || follower.size < written)
      throw tampered(`record ${follower.size} of the audit log is missing`)
    await follower.prove()
  }

  async #begin(committed: bigint): Promise<void> {
    const { store, follower, memory, trusted } = this.#deps
    const signed = await newestNote(store)
    const given = trusted.map(note => ({ ...this.#open(note), name: 'the checkpoint that was given' }))
    const heads: (KnownHead & { olderBy: number })[] = signed
      ? [{ ...this.#open(signed.note), name: 'the newest checkpoint in the database' }]
      : []
    for (const head of heads)
      if (signed && head.size !== signed.size) throw tampered('a checkpoint in the database is not of the size it says')
    heads.push(...given)
    // Any history would do for a server that remembers none.
    if (memory && !memory.head() && committed > 0n && trusted.length === 0 && !this.#deps.sawEmpty)
      throw new KeymanError(
        'unavailable',
        `the database holds ${committed} records, and this server remembers none of them`,
        {
          hint: 'if its data folder is new, give it a checkpoint of the log that you trust: keyman audit checkpoint > FILE on a laptop that has signed in, then keyman-server start --checkpoint FILE',
        },
      )
    await follower.begin(
      committed,
      heads,
      given.some(({ olderBy }) => olderBy === 0),
    )
    // The newest there is may be of the history that was given up.
    if (signed && parseCheckpoint(signed.note).origin === this.#deps.origin) this.#signed = signed
    this.#begun = true
  }

  /** The tree in the database is the one of the records that were read: proofs are made from it. */
  async #assertTiles(): Promise<void> {
    const { follower, readTile } = this.#deps
    const { edge } = follower
    if (!equalBytes((await TreeEdge.load(edge.size, readTile)).root(), edge.root()))
      throw tampered(`the audit log's tree of ${edge.size} records is not that of its records`)
  }

  async #sign(turn: Exclude<Turn, 'another'>): Promise<void> {
    const { store, origin, logKeys, now, follower } = this.#deps
    // Of one moment: the log is followed on while the keystore signs.
    const { size } = follower
    if (this.#signed && this.#signed.size >= size) return
    const text = encodeCheckpoint({ origin, size, root: follower.edge.root() })
    const { name } = logKeys
    const { publicKey, signature } = await logKeys.sign(utf8(text))
    const note = encodeNote(text, { name, keyId: noteKeyId(name, publicKey), signature })
    if (turn === 'anybody') await putNote(store, size, note, now())
    else
      await store.transaction({ name: 'checkpoint', deadlineMs: 5_000 }, async t => {
        await putNote(t, size, note, now())
        await turn(t)
      })
    this.#signedAt = this.#deps.monotonic()
    this.#signed = { size, note }
  }

  /** Before anything is signed or answered that rests on it: what was seen once is asked for at every later start. */
  async #keepHead(): Promise<void> {
    const { memory, follower, monotonic } = this.#deps
    if (memory && follower.size > this.#keptHead) {
      await memory.keepHead(follower.kept())
      this.#keptHead = follower.size
    }
    if (monotonic() - this.#keptStateAt > KEEP_STATE_EVERY_MS) await this.#keepState()
  }

  async #keepState(): Promise<void> {
    const { memory, follower, now, monotonic } = this.#deps
    this.#keptStateAt = monotonic()
    // Not by one clock alone: the log itself has to have come as far.
    const { newestAt } = follower
    if (newestAt) follower.facts.forgetEnded(new Date(Math.min(newestAt.getTime(), now().getTime())))
    if (follower.size === this.#keptState) return
    this.#keptState = follower.size
    await memory?.keepState({ ...follower.kept(), facts: follower.facts.kept() })
  }

  #verify(note: string): Shown {
    const { origin, logKeys } = this.#deps
    const named = parseCheckpoint(note).origin
    const olderBy = newerBy(origin, named)
    const of = olderBy === undefined ? origin : named
    return { ...verifyCheckpoint(note, { origin: of, logKeys: logKeys.believed() }), olderBy: olderBy ?? 0 }
  }

  /** A checkpoint of the database, which a key of our own must have signed. */
  #open(note: string): Shown {
    try {
      const shown = this.#verify(note)
      if (shown.olderBy < 0) throw supersededBy(parseCheckpoint(note).origin)
      return shown
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new KeymanError('internal', `a checkpoint of the audit log is not ours: ${why}`, {
        hint: 'either the keystore with the log key was exchanged, or the organisation renamed: give the server the keystore and settings that belong to this database, or restore database and keystore from one backup; or somebody changed the database: keep it as it is',
        cause,
      })
    }
  }
}

/** Of this server, by its fence; of another; or of whoever comes. */
type Turn = Fence | 'anybody' | 'another'

/** What a checkpoint says; by how many histories it is older than ours. */
type Shown = { readonly size: bigint; readonly root: Uint8Array; readonly olderBy: number }

const supersededBy = (history: string): KeymanError =>
  new KeymanError(
    'internal',
    `this server runs on a history of the database that was given up: ${history} came after it`,
    {
      hint: 'a backup was restored: stop this server, give it the restored database, and start it with the checkpoint that keyman-server restore wrote',
    },
  )

/** Runs what it is given one after the other, whatever comes of each. */
function oneAtATime(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return work => {
    const result = last.then(work)
    last = result.catch(() => {})
    return result
  }
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)
