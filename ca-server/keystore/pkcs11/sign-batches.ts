import { checkText, QUEUE_BOUND, unavailable } from '../port.ts'
import { checkIsMeant } from '../signature.ts'
import { type Handle, isLost, normalise } from './binding.ts'
import type { SigningKey } from './objects.ts'
import type { SignThreads } from './sign-threads.ts'
import type { Token } from './token.ts'

/** More at once would let the first of them wait for the last without gaining anything. */
const MAX_BATCH = 16

type Item = {
  readonly label: string
  readonly data: Uint8Array
  readonly spki: Uint8Array | undefined
  readonly resolve: (signature: Uint8Array) => void
  readonly reject: (error: unknown) => void
}

/** Signatures that are asked for while the threads are busy, or in one turn of the event loop, go to a thread together. */
export function createSignBatches(
  token: Pick<Token, 'use'>,
  threads: SignThreads,
  findKey: (label: string, session: Handle) => SigningKey | Promise<SigningKey>,
) {
  let queue: Item[] = []
  let running = 0
  let scheduled = false

  /** Of one key, and no more than this thread's share. */
  const take = (): Item[] => {
    const share = Math.min(MAX_BATCH, Math.ceil(queue.length / (threads.count - running + 1)))
    const label = queue[0]?.label
    const batch: Item[] = []
    queue = queue.filter(item => {
      if (item.label !== label || batch.length >= share) return true
      batch.push(item)
      return false
    })
    return batch
  }

  const signBatch = async (batch: readonly Item[], session: Handle): Promise<void> => {
    const [first] = batch
    if (!first) return
    const { key, handle } = await findKey(first.label, session)
    const meant = batch.filter(item => {
      try {
        checkIsMeant(key, item.spki)
        return true
      } catch (error) {
        item.reject(error)
        return false
      }
    })
    const { signatures, failure } = await threads.sign({ session, handle, key, texts: meant.map(({ data }) => data) })
    // Lost with the session: after the recovery the whole batch is signed again, which hurts nobody.
    if (failure && isLost(failure)) throw failure
    for (const [n, item] of meant.entries()) {
      const signature = signatures[n]
      if (signature) item.resolve(signature)
      else if (n === signatures.length) item.reject(normalise(failure, `signing with ${item.label}`))
      // What came after one that failed was not tried.
      else queue.push(item)
    }
  }

  const run = async (): Promise<void> => {
    running++
    let batch: Item[] = []
    try {
      await token.use('signing', async session => {
        if (batch.length === 0) batch = take()
        await signBatch(batch, session)
      })
    } catch (error) {
      // Without a batch no session came free in time: then it comes for none of those who wait.
      for (const { reject } of batch.length > 0 ? batch : queue.splice(0)) reject(error)
    }
    running--
    start()
  }

  const start = (): void => {
    while (running < threads.count && queue.length > 0) void run()
  }

  return {
    async sign(label: string, data: Uint8Array, spki?: Uint8Array): Promise<Uint8Array> {
      checkText(data)
      if (queue.length >= QUEUE_BOUND)
        throw unavailable(`the keystore is busy: ${queue.length} signatures are waiting`, { retryAfter: 1 })
      return new Promise((resolve, reject) => {
        queue.push({ label, data, spki, resolve, reject })
        if (scheduled) return
        scheduled = true
        // After all that became possible in this turn: a group of records is released in one.
        process.nextTick(() => {
          scheduled = false
          start()
        })
      })
    },
    get waiting() {
      return queue.length
    },
  }
}
