import { generateKeyPairSync, sign } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import type { Verification } from './verification.ts'
import { createVerifier } from './verifier.ts'

const KEYS = {
  ed25519: generateKeyPairSync('ed25519'),
  'ecdsa-p256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
}
const signed = (algorithm: Verification['algorithm'], n: number): Verification => {
  const data = new Uint8Array(100).fill(n)
  const { privateKey, publicKey } = KEYS[algorithm]
  const signature =
    algorithm === 'ed25519'
      ? sign(undefined, data, privateKey)
      : sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  return { algorithm, publicKey, data, signature: new Uint8Array(signature) }
}
const changed = (bytes: Uint8Array, at: number) => bytes.with(at, (bytes[at] ?? 0) ^ 1)

describe.each(['ed25519', 'ecdsa-p256'] as const)('signatures by %s that are verified together', algorithm => {
  it('are each told apart, whichever of them are wrong', async () => {
    const verifies = createVerifier()
    const good = Array.from({ length: 20 }, (_, n) => signed(algorithm, n))
    const one = good.map((item, n) => (n % 3 === 1 ? { ...item, signature: changed(item.signature, n) } : item))
    const other = good.map((item, n) => (n % 3 === 2 ? { ...item, data: changed(item.data, n) } : item))
    // Two batches on their way at once.
    const first = Promise.all(one.map(verifies))
    await Promise.resolve().then(() => new Promise(resolve => setImmediate(resolve)))
    const second = Promise.all(other.map(verifies))
    expect(await first).toEqual(good.map((_, n) => n % 3 !== 1))
    expect(await second).toEqual(good.map((_, n) => n % 3 !== 2))
  })

  it('are not valid by another key, nor where one is cut off', async () => {
    const verifies = createVerifier()
    const item = signed(algorithm, 1)
    const stranger =
      algorithm === 'ed25519'
        ? generateKeyPairSync('ed25519').publicKey
        : generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
    const results = [
      { ...item, publicKey: stranger },
      { ...item, signature: item.signature.subarray(1) },
      { ...item, signature: new Uint8Array() },
      item,
    ].map(verifies)
    expect(await Promise.all(results)).toEqual([false, false, false, true])
  })
})

it('what a thread that ended had to verify is not valid, and the next starts another', async () => {
  const started: string[] = []
  const verifies = createVerifier(() => {
    started.push('once')
    return started.length === 1
      ? new Worker('process.exit(3)', { eval: true })
      : new Worker(new URL('./verify-thread.ts', import.meta.url), { execArgv: [] })
  })
  const item = signed('ed25519', 1)
  await expect(verifies(item)).rejects.toThrow('the thread that verifies signatures ended')
  expect(await verifies(item)).toBe(true)
  expect(started.length).toBe(2)
})
