import { randomBytes } from 'node:crypto'
import { openKeystore } from '#server/keystore/index.ts'
import type { Algorithm } from './server.ts'

/**
 * A process of its own that signs with the bare keystore, which verifies each signature, eight at a time:
 * the most that any server in one process could issue with this HSM. Its own key, in the server's token.
 */
export type KeystoreSettings = { readonly module: string; readonly token: string; readonly pin: string }
export type LoopJob = { readonly keystore: KeystoreSettings; readonly algorithm: Algorithm; readonly measure: number }
export type LoopResult = { readonly perSecond: number; readonly cpuPerThousand: number }

/** As long as the body of a certificate. Bytes. */
const BODY = 450
const AT_ONCE = 8

process.once('message', (job: LoopJob) => {
  void run(job).then(result => process.send?.(result, () => process.exit()))
})

async function run({ keystore: settings, algorithm, measure }: LoopJob): Promise<LoopResult> {
  const keystore = await openKeystore({ kind: 'pkcs11', ...settings })
  const label = `bench-${algorithm}`
  const known = (await keystore.listKeys()).find(key => key.label === label)
  if (!known) await keystore.generateKey(label, algorithm)
  const body = new Uint8Array(randomBytes(BODY))

  const loop = async (milliseconds: number): Promise<number> => {
    const end = performance.now() + milliseconds
    let count = 0
    const one = async () => {
      while (performance.now() < end) {
        await keystore.sign(label, body)
        count++
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, one))
    return count
  }

  await loop(measure / 4)
  const [started, used] = [performance.now(), process.cpuUsage()]
  const count = await loop(measure)
  const { user, system } = process.cpuUsage(used)
  const perSecond = (count / (performance.now() - started)) * 1000
  await keystore.close()
  return { perSecond, cpuPerThousand: ((user + system) / 1e6 / count) * 1000 }
}
