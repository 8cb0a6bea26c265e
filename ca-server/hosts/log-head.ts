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
  readonly #ledger: Pick<Ledger, 'checkpoint' | 'consistencyProof'>

  constructor(ledger: Pick<Ledger, 'checkpoint' | 'consistencyProof'>) {
    this.#ledger = ledger
  }

  start(): void {
    this.#timer = setInterval(() => void this.#refresh().catch(() => undefined), REFRESH_MS)
    this.#timer.unref()
    void this.#refresh().catch(() => undefined)
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

  /**
   * What a host that knows the tree of `from` records is sent, or `undefined` where nothing is new. `'behind'` where the
   * host knows more than the database, which was read anew for this answer: records were lost.
   */
  async frameFrom(from: bigint): Promise<{ frame: CheckpointFrame; size: bigint } | 'behind' | undefined> {
    let head = this.#head
    if (!head || head.size < from) head = await this.#refresh()
    if (head.size < from) return 'behind'
    if (head.size === from) return undefined
    const proof = await this.#ledger.consistencyProof(from, head.size)
    return { frame: { checkpoint: head.note, proof: proof.map(toHex) }, size: head.size }
  }
}
