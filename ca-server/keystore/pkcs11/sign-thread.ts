import { parentPort, workerData } from 'node:worker_threads'
import { type Cryptoki, ckrOf, loadCryptoki } from './binding.ts'

/**
 * The program of one signing thread (see `sign-threads.ts`). It opens nothing and holds nothing: sessions, login and recovery
 * are the main thread's. A second binding in the same process shares the module's state, so handles are good here too.
 */
export type SignBatch = {
  readonly session: Uint8Array
  readonly key: Uint8Array
  readonly mechanism: number
  /** Of one signature. */
  readonly signatureBytes: number
  /** All inputs, one after the other. */
  readonly inputs: Uint8Array<ArrayBuffer>
  readonly lengths: readonly number[]
}
export type SignedBatch = {
  /** One after the other, as many as went well. */
  readonly signatures: Uint8Array<ArrayBuffer>
  /** Why the next one did not, and no further one was tried. `code`: CK_RV. */
  readonly failure?: { readonly message: string; readonly code: number | undefined }
}

function signBatch(cryptoki: Cryptoki, batch: SignBatch): SignedBatch {
  const { lengths, signatureBytes: size } = batch
  const session = Buffer.from(batch.session)
  const key = Buffer.from(batch.key)
  const signatures = new Uint8Array(lengths.length * size)
  let done = 0
  let at = 0
  try {
    for (const length of lengths) {
      const input = Buffer.from(batch.inputs.buffer, batch.inputs.byteOffset + at, length)
      cryptoki.C_SignInit(session, { mechanism: batch.mechanism }, key)
      const signature = cryptoki.C_Sign(session, input, Buffer.alloc(size))
      if (signature.length !== size) throw new Error(`a signature of ${signature.length} bytes instead of ${size}`)
      signatures.set(signature, done * size)
      at += length
      done++
    }
    return { signatures }
  } catch (error) {
    const message = error instanceof Error ? error.message : 'the module failed'
    return { signatures: signatures.slice(0, done * size), failure: { message, code: ckrOf(error) } }
  }
}

if (parentPort) {
  const port = parentPort
  const cryptoki = await loadCryptoki(String(workerData))
  port.on('message', (batch: SignBatch) => {
    const signed = signBatch(cryptoki, batch)
    port.postMessage(signed, [signed.signatures.buffer])
  })
}
