import { parentPort, workerData } from 'node:worker_threads'
import { isSignatureOf, type VerificationKey } from '../signature.ts'
import { type Cryptoki, ckrOf, loadCryptoki } from './binding.ts'
import { SCHEMES } from './mechanisms.ts'

/**
 * The program of one signing thread (see `sign-threads.ts`). It opens nothing and holds nothing: sessions, login and recovery
 * are the main thread's. A second binding in the same process shares the module's state, so handles are good here too.
 */
export type SignBatch = {
  readonly session: Uint8Array
  readonly handle: Uint8Array
  readonly key: VerificationKey
  /** All that is to be signed, one after the other. */
  readonly texts: Uint8Array<ArrayBuffer>
  readonly lengths: readonly number[]
}
/** `code`: CK_RV. */
export type SignFailure =
  | { readonly kind: 'module'; readonly message: string; readonly code: number | undefined }
  | { readonly kind: 'not-valid' }
export type SignedBatch = {
  /** One after the other, as many as went well. */
  readonly signatures: Uint8Array<ArrayBuffer>
  /** Why the next one did not, and no further one was tried. */
  readonly failure?: SignFailure
}

function signBatch(cryptoki: Cryptoki, batch: SignBatch): SignedBatch {
  const { lengths, key } = batch
  const { sign: mechanism, signatureBytes: size, input: inputOf } = SCHEMES[key.algorithm]
  const session = Buffer.from(batch.session)
  const handle = Buffer.from(batch.handle)
  const signatures = new Uint8Array(lengths.length * size)
  let done = 0
  let at = 0
  try {
    for (const length of lengths) {
      const text = batch.texts.subarray(at, at + length)
      cryptoki.C_SignInit(session, mechanism, handle)
      const signature = cryptoki.C_Sign(session, inputOf(text), Buffer.alloc(size))
      if (signature.length !== size || !isSignatureOf(key, text, signature))
        return { signatures: signatures.slice(0, done * size), failure: { kind: 'not-valid' } }
      signatures.set(signature, done * size)
      at += length
      done++
    }
    return { signatures }
  } catch (error) {
    const message = error instanceof Error ? error.message : 'the module failed'
    return { signatures: signatures.slice(0, done * size), failure: { kind: 'module', message, code: ckrOf(error) } }
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
