import { parentPort } from 'node:worker_threads'
import { isValid, type Verification } from './verification.ts'

/** The program of the thread that verifies signatures (see `verifier.ts`): gives an answer for each of a batch, in its order. */
if (parentPort) {
  const port = parentPort
  port.on('message', (batch: readonly Verification[]) => port.postMessage(batch.map(isValid)))
}
