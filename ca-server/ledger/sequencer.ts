import type { Store } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  encodeCheckpoint,
  noteKeyId,
  signedNote,
  type TileReader,
  TreeEdge,
  verifyCheckpoint,
} from '#shared/merkle/index.ts'
import { tampered } from './errors.ts'
import { advanceTree, headSize, newestNote, nextLeaves, putNote, recordMissing, treeSize } from './tree-store.ts'

export type LogKey = { name: string; publicKey: Uint8Array; sign(data: Uint8Array): Promise<Uint8Array> }
export type SequencerDeps = {
  store: Store
  origin: string
  logKey: LogKey
  now: () => Date
  readTile: TileReader
  /** At most one checkpoint in this time. */
  checkpointEveryMs: number
  onError: (error: unknown) => void
}

/** Records of one step: some 10 ms, so that issuing goes on between two. */
const LEAVES_A_STEP = 2048

/** `edge` is the tree as far as this process knows it; `signed` the newest checkpoint that it has seen. */
type State = { edge: TreeEdge; signed: { size: bigint; note: string } | undefined }

/**
 * Works behind: puts committed records into the tree, and signs its head. Several servers may run one each; the tree's size is
 * compared and set, so one wins each step, and all come to the same heads, because the records' order is fixed.
 */
export class Sequencer {
  readonly #deps: SequencerDeps
  #state: State | undefined
  #signedAt = Number.NEGATIVE_INFINITY
  #last: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined

  constructor(deps: SequencerDeps) {
    this.#deps = deps
  }

  /** The newest checkpoint of at least the records that are committed now: signs one where it has to, in its turn. */
  async checkpoint(): Promise<string> {
    const committed = await headSize(this.#deps.store)
    for (;;) {
      const signed = await this.#alone(async () => (await this.#advance(true)).signed)
      if (signed && signed.size >= committed) return signed.note
      const wait = this.#signedAt + this.#deps.checkpointEveryMs - performance.now()
      await new Promise(resolve => setTimeout(resolve, Math.max(1, wait)))
    }
  }

  /** Puts what is committed into the tree, without signing. Gives the tree's size. */
  async integrate(): Promise<bigint> {
    return this.#alone(async () => (await this.#advance(false)).edge.size)
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.#alone(() => this.#advance(true)).catch(this.#deps.onError)
    }, this.#deps.checkpointEveryMs)
    this.#timer.unref()
  }

  /** A last checkpoint, so that a stopped server leaves a tree that is signed to its end. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await this.#alone(async () => {
      this.#signedAt = Number.NEGATIVE_INFINITY
      await this.#advance(true)
    })
  }

  /** One step at a time in this process. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }

  async #advance(maySign: boolean): Promise<State> {
    const { store } = this.#deps
    let state = this.#state ?? (await this.#load())
    const committed = await headSize(store)
    for (;;) {
      const leaves = await nextLeaves(store, state.edge.size, LEAVES_A_STEP)
      if (leaves.length === 0) break
      const edge = state.edge.copy()
      const tiles = edge.append(leaves)
      // Another server was faster: go on from what it left.
      if (await advanceTree(store, state.edge.size, edge.size, tiles)) state = { ...state, edge }
      else state = await this.#load()
    }
    // Whoever asks for a checkpoint of them would wait for ever.
    if (state.edge.size < committed) throw recordMissing(state.edge.size)
    if (maySign && performance.now() - this.#signedAt >= this.#deps.checkpointEveryMs) state = await this.#sign(state)
    this.#state = state
    return state
  }

  async #sign(state: State): Promise<State> {
    const { store, origin, logKey, now } = this.#deps
    const { size } = state.edge
    if (state.signed && state.signed.size >= size) return state
    const text = encodeCheckpoint({ origin, size, root: state.edge.root() })
    const note = await signedNote(text, {
      name: logKey.name,
      keyId: noteKeyId(logKey.name, logKey.publicKey),
      sign: data => logKey.sign(data),
    })
    await putNote(store, size, note, now())
    this.#signedAt = performance.now()
    return { ...state, signed: { size, note } }
  }

  /**
   * From the database, but not believed blindly: the tiles must give the head of the newest checkpoint, which our own key
   * signed. Else the server would sign whatever somebody wrote into the tiles.
   */
  async #load(): Promise<State> {
    const { store, readTile } = this.#deps
    this.#state = undefined
    const signed = await newestNote(store)
    const size = await treeSize(store)
    if (signed) {
      const head = this.#open(signed.note)
      const fits =
        head.size === signed.size &&
        head.size <= size &&
        equalBytes((await TreeEdge.load(head.size, readTile)).root(), head.root)
      if (!fits) throw tampered(`the audit log's tree is not that of its checkpoint of ${head.size} records`)
    }
    return { edge: await TreeEdge.load(size, readTile), signed }
  }

  /** A checkpoint of the database, which our own key must have signed. */
  #open(note: string): { size: bigint; root: Uint8Array } {
    const { origin, logKey } = this.#deps
    try {
      return verifyCheckpoint(note, { origin, logKey: logKey.publicKey, name: logKey.name })
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new KeymanError('internal', `the newest checkpoint of the audit log in the database is not ours: ${why}`, {
        hint: 'either the log key was lost or exchanged, or the organisation renamed: give the server the keystore and settings that belong to this database, or restore database and keystore from one backup; or somebody changed the database: keep it as it is',
        cause,
      })
    }
  }
}
