import { randomBytes } from 'node:crypto'
import { KeymanError } from '#shared/errors.ts'
import { type KeystoreKey, unavailable } from './port.ts'

/** Milliseconds. A keystore that is slower than this at one signature can't serve. */
const PATIENCE = 5000

/** One probe at a time, shared by all who ask meanwhile. */
export function createHealthProbe(
  ensureKey: () => Promise<KeystoreKey>,
  sign: (key: KeystoreKey, data: Uint8Array) => Promise<Uint8Array>,
): () => Promise<void> {
  let probe: Promise<void> | undefined
  const run = async () => {
    const key = await ensureKey()
    await sign(key, randomBytes(32))
  }
  return () => {
    probe ??= inTime(run()).finally(() => {
      probe = undefined
    })
    return probe
  }
}

async function inTime(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, refuse) => {
    timer = setTimeout(() => refuse(unavailable('the keystore does not answer', { retryAfter: 5 })), PATIENCE)
  })
  try {
    await Promise.race([work, late])
  } catch (error) {
    throw error instanceof KeymanError && error.code === 'unavailable'
      ? error
      : unavailable('the keystore failed its probe', { cause: error })
  } finally {
    clearTimeout(timer)
  }
}
