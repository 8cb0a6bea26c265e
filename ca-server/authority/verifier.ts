import { Worker } from 'node:worker_threads'
import type { Verification } from './verification.ts'

/** In the bundle it is a file of its own beside the server's. */
const PROGRAM = new URL(
  import.meta.url.endsWith('.ts') ? './verify-thread.ts' : './keyman-server-verify-thread.mjs',
  import.meta.url,
)

type Item = {
  readonly verification: Verification
  readonly resolve: (valid: boolean) => void
  readonly reject: (error: Error) => void
}

/**
 * Verifies on a thread beside the event loop, in batches: what is asked for in one turn goes there together. Node's own way
 * beside the event loop is a job for each signature, which costs a fifth of the verification itself. The thread begins with
 * the first signature, and keeps nothing alive that has nothing else to do. Rejects where the thread ended; the next one starts another.
 */
export function createVerifier(
  start: () => Worker = () => new Worker(PROGRAM, { execArgv: [] }),
): (verification: Verification) => Promise<boolean> {
  let worker: Worker | undefined
  let waiting: Item[] = []
  /** In the order in which the thread gets and answers them. */
  let sent: (readonly Item[])[] = []

  const begin = (): Worker => {
    const begun = start()
    let cause: unknown
    begun.on('error', error => {
      cause = error
    })
    begun.on('message', (answers: readonly unknown[]) => {
      for (const [n, { resolve }] of (sent.shift() ?? []).entries()) resolve(answers[n] === true)
      if (sent.length === 0) begun.unref()
    })
    begun.once('exit', () => {
      worker = undefined
      const lost = sent.flat()
      sent = []
      for (const { reject } of lost) reject(new Error('the thread that verifies signatures ended', { cause }))
    })
    return begun
  }

  const send = (): void => {
    const batch = waiting
    waiting = []
    worker ??= begin()
    worker.ref()
    sent.push(batch)
    worker.postMessage(batch.map(({ verification }) => verification))
  }

  return verification =>
    new Promise((resolve, reject) => {
      // After all that became possible in this turn: the signatures of a batch come together.
      if (waiting.length === 0) process.nextTick(send)
      waiting.push({ verification, resolve, reject })
    })
}
