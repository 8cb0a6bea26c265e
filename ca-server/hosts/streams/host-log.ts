import type { hostStream } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'
import type { HostName } from '#shared/names.ts'
import type { HostsDeps } from '../port.ts'
import type { LogHead } from './log-head.ts'

const EVERY_MS = 60_000

type LogFrame = Extract<hostStream.FrameToAgent, { type: 'log' }>['log']

type HostLogDeps = {
  readonly name: HostName
  readonly ledger: Pick<HostsDeps['ledger'], 'hear'>
  readonly head: LogHead
  readonly now: () => Date
  /** Whether what this host says unasked is heard once more. */
  readonly mayBeHeard: () => boolean
  readonly alarm: (message: string) => void
  readonly failed: (error: unknown) => void
}

/** What one host and this server show each other of the log: the tree heads that each has. */
export class HostLog {
  readonly #deps: HostLogDeps
  #size = 0n
  /** The tree head that the host came with. */
  #remembered: string | undefined
  #sentAt = 0

  constructor(deps: HostLogDeps) {
    this.#deps = deps
  }

  /** Goes on from the tree head that the host came with. False: it is none. */
  begin(checkpoint: string): boolean {
    const size = sizeOf(checkpoint)
    if (size === undefined) return false
    this.#size = size
    this.#remembered = checkpoint
    return true
  }

  /** Whether the host was sent none for a minute. */
  isDue(): boolean {
    return this.#deps.now().getTime() - this.#sentAt >= EVERY_MS
  }

  /** The proof from the tree head that this host knows; nothing where there is none newer or it cannot be made now. */
  async next(): Promise<LogFrame | undefined> {
    try {
      const head = await this.#deps.head.frameFrom(this.#size)
      if (head !== 'behind') return head?.frame
      await this.showAgain()
    } catch (error) {
      this.#deps.failed(error)
    }
    return undefined
  }

  sent({ checkpoint }: LogFrame): void {
    this.#size = parseCheckpoint(checkpoint).size
    this.#sentAt = this.#deps.now().getTime()
  }

  /** Holds the log against the tree head that the host came with. */
  async showAgain(): Promise<void> {
    if (this.#remembered !== undefined) await this.show(this.#remembered)
  }

  /** Holds the log against a tree head that the host has: only one that the log's key signed tells of rows that were lost. */
  async show(checkpoint: string): Promise<void> {
    const { ledger, alarm, mayBeHeard, name } = this.#deps
    try {
      const wrong = await ledger.hear(checkpoint)
      if (wrong !== undefined && mayBeHeard())
        alarm(`ALARM: ${wrong}; ${name} shows it by a signed tree head. Nothing is issued any more`)
    } catch (error) {
      if (!(error instanceof KeymanError) || error.code !== 'invalid-input') throw error
      if (!mayBeHeard()) return
      const size = sizeOf(checkpoint) ?? 'unknown'
      alarm(`${name} shows a tree head of ${size} records that the log's key has not signed`)
    }
  }
}

function sizeOf(checkpoint: string): bigint | undefined {
  try {
    return parseCheckpoint(checkpoint).size
  } catch {
    return undefined
  }
}
