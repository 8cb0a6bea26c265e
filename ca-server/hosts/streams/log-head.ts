import type { Ledger } from '#server/ledger/index.ts'
import type { hostStream } from '#shared/api/index.ts'
import { toHex } from '#shared/bytes.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'

type Head = { readonly note: string; readonly size: bigint }
type CheckpointFrame = NonNullable<Extract<hostStream.FrameToAgent, { type: 'log' }>['log']>

/** A signed head may be a second away, and a revocation must not wait for it: hosts get the newest that is there. */
const REFRESH_MS = 5_000

/** The newest tree head, for all hosts together. */
export class LogHead {
  #head: Head | undefined
  #timer: NodeJS.Timeout | undefined
  #proofs: { readonly to: bigint; readonly from: Map<bigint, Promise<string[]>> } = { to: 0n, from: new Map() }
  readonly #ledger: Pick<Ledger, 'checkpoint' | 'consistencyProof'>

  readonly #onError: (error: unknown) => void

  constructor(ledger: Pick<Ledger, 'checkpoint' | 'consistencyProof'>, onError: (error: unknown) => void) {
    this.#ledger = ledger
    this.#onError = onError
  }

  start(): void {
    const refresh = () => void this.#refresh().catch(this.#onError)
    this.#timer = setInterval(refresh, REFRESH_MS)
    this.#timer.unref()
    refresh()
  }
  stop(): void {
    clearInterval(this.#timer)
  }

  async #refresh(): Promise<Head> {
    const note = await this.#ledger.checkpoint()
    const { size } = parseCheckpoint(note)
    if (!this.#head || size >= this.#head.size) this.#head = { note, size }
    return this.#head
  }

  /** Most of a fleet comes from the same tree head: the proof is made once. */
  #proof(from: bigint, to: bigint): Promise<string[]> {
    if (this.#proofs.to !== to) this.#proofs = { to, from: new Map() }
    const { from: known } = this.#proofs
    let proof = known.get(from)
    if (!proof) {
      proof = this.#ledger.consistencyProof(from, to).then(hashes => hashes.map(toHex))
      proof.catch(() => known.delete(from))
      known.set(from, proof)
    }
    return proof
  }

  /**
   * What a host that knows the tree of `from` records is sent, or `undefined` where nothing is new. `'behind'` where the
   * host knows more than the database, which was read anew for this answer: records were lost.
   */
  async frameFrom(from: bigint): Promise<{ frame: CheckpointFrame; size: bigint } | 'behind' | undefined> {
    let head = this.#head
    if (!head || head.size < from) head = await this.#refresh()
    if (head.size < from) return 'behind'
    if (head.size === from) return undefined
    const { note, size } = head
    return { frame: { checkpoint: note, proof: await this.#proof(from, size) }, size }
  }
}
