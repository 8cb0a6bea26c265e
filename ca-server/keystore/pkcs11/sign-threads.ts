import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { KeystoreKey } from '../port.ts'
import { notValid } from '../signature.ts'
import type { Handle } from './binding.ts'
import { SCHEMES } from './mechanisms.ts'
import type { SignBatch, SignedBatch } from './sign-thread.ts'

/**
 * Threads that sign batches and verify what they signed, for a module that works inside this process, such as SoftHSM. C_SignInit has no form that leaves
 * the event loop free (a third of the work for P-256), and each signature's own way to libuv's threads and back costs the
 * event loop as much again: together 100 us a signature with its verification, in batches 10 us.
 */
export type SignThreads = {
  /** At most this many batches at once. */
  readonly count: number
  /** Signs `texts` in this order in a session that nobody else uses meanwhile. Rejects only where the thread itself ended. */
  sign(order: SignOrder): Promise<SignResult>
  close(): Promise<void>
}
export type SignOrder = {
  readonly session: Handle
  readonly handle: Handle
  readonly key: KeystoreKey
  readonly texts: readonly Uint8Array[]
}
/** The signatures that went well, in order; `failure` is about the text after the last of them. */
export type SignResult = { readonly signatures: readonly Uint8Array[]; readonly failure?: Error }

/** In the bundle it is a file of its own beside the server's. */
const PROGRAM = new URL(
  import.meta.url.endsWith('.ts') ? './sign-thread.ts' : './keyman-server-sign-thread.mjs',
  import.meta.url,
)

/** `module`: the path that the main thread has loaded and initialized. */
export function createSignThreads(module: string): SignThreads {
  const idle: Worker[] = []
  const all = new Set<Worker>()
  let lastError: unknown

  const start = (): Worker => {
    const worker = new Worker(PROGRAM, { workerData: module, execArgv: [] })
    all.add(worker)
    // Whoever waits for it hears of its end there; one that ends while it is idle is replaced when it is wanted.
    worker.on('error', error => {
      lastError = error
    })
    worker.once('exit', () => {
      all.delete(worker)
      const at = idle.indexOf(worker)
      if (at >= 0) idle.splice(at, 1)
    })
    return worker
  }

  const exchange = (worker: Worker, batch: SignBatch): Promise<SignedBatch> =>
    new Promise((resolve, reject) => {
      const onMessage = (signed: SignedBatch) => {
        worker.off('exit', onExit)
        // An idle thread keeps no program alive that has nothing else to do.
        worker.unref()
        resolve(signed)
      }
      const onExit = () => {
        worker.off('message', onMessage)
        reject(new Error('a signing thread ended', { cause: lastError }))
      }
      worker.once('message', onMessage)
      worker.once('exit', onExit)
      worker.ref()
      worker.postMessage(batch, [batch.texts.buffer])
    })

  return {
    count: Math.min(4, availableParallelism()),
    async sign({ session, handle, key, texts }) {
      const size = SCHEMES[key.algorithm].signatureBytes
      const worker = idle.pop() ?? start()
      const { signatures, failure } = await exchange(worker, {
        session: Uint8Array.from(session),
        handle: Uint8Array.from(handle),
        key: { algorithm: key.algorithm, spki: key.spki },
        texts: joined(texts),
        lengths: texts.map(text => text.length),
      })
      idle.push(worker)
      const parts = Array.from({ length: signatures.length / size }, (_, n) =>
        signatures.slice(n * size, (n + 1) * size),
      )
      if (!failure) return { signatures: parts }
      return {
        signatures: parts,
        failure:
          failure.kind === 'not-valid'
            ? notValid(key.label)
            : Object.assign(new Error(failure.message), { code: failure.code }),
      }
    },
    async close() {
      await Promise.all([...all].map(worker => worker.terminate()))
    },
  }
}

/** Into memory of its own, which goes to the thread instead of being copied. */
function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
