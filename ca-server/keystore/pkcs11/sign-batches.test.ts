import { describe, expect, it } from 'vitest'
import { QUEUE_BOUND } from '../index.ts'
import type { KeystoreKey } from '../port.ts'
import { createSignBatches } from './sign-batches.ts'
import type { SignOrder, SignResult, SignThreads } from './sign-threads.ts'

const handle = Buffer.alloc(8)
const algorithm = 'ed25519'

/** Threads that a test lets go by hand; a signature is its input. */
function heldThreads(count: number) {
  const running: { inputs: readonly string[]; end(result?: SignResult): void }[] = []
  const threads: SignThreads = {
    count,
    sign: ({ texts }: SignOrder) =>
      new Promise(resolve =>
        running.push({
          inputs: texts.map(text => Buffer.from(text).toString()),
          end: (result = { signatures: texts }) => resolve(result),
        }),
      ),
    close: async () => {},
  }
  return { threads, running }
}
const token = { use: <R>(_: string, work: (session: Buffer) => Promise<R>) => work(handle) }
const findKey = (label: string) => {
  const key: KeystoreKey = { label, algorithm, spki: new Uint8Array() }
  return { key, handle }
}
const bytes = (text: string) => new TextEncoder().encode(text)
const turn = () => new Promise(resolve => setImmediate(resolve))

describe('signatures that are asked for together', () => {
  it('are shared out among the threads; those of another key go apart', async () => {
    const { threads, running } = heldThreads(2)
    const batches = createSignBatches(token, threads, findKey)
    const all = ['a', 'b', 'c', 'd'].map(text => batches.sign('one', bytes(text)))
    all.push(batches.sign('other', bytes('e')))
    await turn()
    expect(running.map(({ inputs }) => inputs)).toEqual([['a', 'b', 'c'], ['d']])
    for (const each of running.splice(0)) each.end()
    await turn()
    expect(running.map(({ inputs }) => inputs)).toEqual([['e']])
    running[0]?.end()
    expect((await Promise.all(all)).map(signature => Buffer.from(signature).toString())).toEqual([...'abcde'])
  })

  it('gather while the threads are busy, and are at most 16 in a batch', async () => {
    const { threads, running } = heldThreads(1)
    const batches = createSignBatches(token, threads, findKey)
    const all = Array.from({ length: 40 }, (_, n) => batches.sign('one', bytes(String(n))))
    for (const size of [16, 16, 8]) {
      await turn()
      const [batch] = running.splice(0)
      expect(batch?.inputs).toHaveLength(size)
      batch?.end()
    }
    expect(await Promise.all(all)).toHaveLength(40)
    expect(batches.waiting).toBe(0)
  })

  it('fail alone: what came before is good, and what came after is signed in the next batch', async () => {
    const { threads, running } = heldThreads(1)
    const batches = createSignBatches(token, threads, findKey)
    const all = Promise.allSettled(['a', 'b', 'c'].map(text => batches.sign('one', bytes(text))))
    await turn()
    const failure = Object.assign(new Error('CKR_MECHANISM_INVALID'), { code: 112 })
    running.shift()?.end({ signatures: [bytes('a')], failure })
    await turn()
    expect(running[0]?.inputs).toEqual(['c'])
    running.shift()?.end()
    expect(await all).toMatchObject([
      { status: 'fulfilled' },
      { status: 'rejected', reason: { code: 'unavailable' } },
      { status: 'fulfilled' },
    ])
  })

  it('are refused beyond the bound, and all of them where no session comes free', async () => {
    const { threads } = heldThreads(1)
    let refuse: (error: Error) => void = () => {}
    const away = {
      use: () =>
        new Promise<never>((_, reject) => {
          refuse = reject
        }),
    }
    const batches = createSignBatches(away, threads, findKey)
    const all = Array.from({ length: QUEUE_BOUND + 1 }, () => batches.sign('one', bytes('a')))
    const settled = Promise.allSettled(all)
    await expect(all.at(-1)).rejects.toMatchObject({ code: 'unavailable', retryAfter: 1 })
    expect(batches.waiting).toBe(QUEUE_BOUND)
    await turn()
    refuse(new Error('the keystore took too long'))
    expect((await settled).every(({ status }) => status === 'rejected')).toBe(true)
    expect(batches.waiting).toBe(0)
  })
})
