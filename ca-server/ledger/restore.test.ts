import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { incarnationId, openStore, type Store } from '#server/store/index.ts'
import { toHex, utf8 } from '#shared/bytes.ts'
import { encodeCheckpoint, leafHash, noteKeyId, parseCheckpoint, signedNote, TreeEdge } from '#shared/merkle/index.ts'
import { entry, logKey, logKeys, onlyKey, origin, sealKey } from '#test/support/contract/ledger.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { beginIncarnation, createLedger, incarnationFact, type Ledger, type LogMemory, whatIsLost } from './index.ts'
import type { KeptHead } from './log/memory.ts'
import type { LedgerDeps } from './port.ts'

let folder: string
let store: Store
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-restore-'))
  store = await openStore(await newPGlite(folder))
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})

function memoryOf(head?: KeptHead): LogMemory {
  let kept = head
  return {
    head: () => kept,
    state: () => undefined,
    keepState: async () => {},
    async keepHead(next) {
      kept = next
    },
  }
}
const open = (
  name: string,
  more: Partial<Pick<LedgerDeps, 'memory' | 'trusted' | 'sawEmpty' | 'fence' | 'checkpointEveryMs'>> = {},
): Promise<Ledger> =>
  createLedger({ store, origin: name, logKeys: onlyKey({ ...logKey, name }), sealKey, now: () => new Date(), ...more })
const note = (size: bigint, name: string, root: Uint8Array = new Uint8Array(32).fill(7)) =>
  signedNote(encodeCheckpoint({ origin: name, size, root }), {
    name,
    keyId: noteKeyId(name, logKey.publicKey),
    sign: logKey.sign,
  })
const lostBy = (memory: LogMemory, checkpoint?: string, exported?: AsyncIterable<string>) =>
  whatIsLost({ store, memory, logKeys }, checkpoint, exported)

it('what is lost is what this server or a checkpoint remembers and the database does not hold; nothing is said of what nobody remembers', async () => {
  const memory = memoryOf()
  const ledger = await open(origin, { memory, sawEmpty: true })
  for (let n = 0; n < 3; n++) await ledger.append(entry())
  const newest = await ledger.checkpoint()
  expect(await lostBy(memory)).toBe(undefined)
  expect(await lostBy(memoryOf(), newest)).toBe(undefined)
  await expect(lostBy(memoryOf())).rejects.toMatchObject({ code: 'unavailable' })

  const { incarnation } = store
  const longer = { incarnation, size: 10n, root: '07'.repeat(32) }
  expect(await lostBy(memoryOf(longer))).toMatchObject({ held: 3n, size: 10n, number: 1, by: 'this server' })
  // Of the same length, and another.
  expect(await lostBy(memoryOf({ ...longer, size: 3n }))).toMatchObject({ held: 3n, size: 3n })
  expect(await lostBy(memory, await note(12n, origin))).toMatchObject({
    size: 12n,
    by: expect.stringContaining('given'),
  })
  // The newest history that anybody remembers counts: its serials must not be given again.
  const third = await lostBy(memoryOf(longer), await note(2n, `${origin}-3`))
  expect(third).toMatchObject({ number: 3, size: 2n })
  await expect(lostBy(memory, await note(12n, 'other.example.com/log'))).rejects.toMatchObject({
    code: 'invalid-input',
  })
})

it('an export of a newer history than the database has comes by what is remembered of that history, or is none', async () => {
  const records = await (await open(origin)).list({ from: 0n, limit: 100 })
  const texts = [...records.map(({ record }) => record), '{"kind":"after the backup"}']
  const edge = TreeEdge.empty()
  edge.append(texts.map(text => leafHash(utf8(text))))
  const { size } = edge
  const head = await note(size, `${origin}-2`, edge.root())
  async function* exported() {
    yield JSON.stringify({ checkpoint: head })
    for (const [n, record] of texts.entries()) yield JSON.stringify({ index: String(n), record })
  }
  const incarnation = incarnationId(2, '6c2f1de8-0000-4000-8000-000000000000')
  const by = (root: string) => lostBy(memoryOf({ incarnation, size, root }), undefined, exported())
  expect(await by(toHex(edge.root()))).toMatchObject({ size, number: 2, isComplete: true })
  await expect(by('07'.repeat(32))).rejects.toMatchObject({ message: expect.stringContaining('those of this server') })
  // What is remembered of the history before may be longer, and another: it was given up.
  const before = memoryOf({ incarnation: store.incarnation, size, root: '07'.repeat(32) })
  expect(await lostBy(before, undefined, exported())).toMatchObject({ number: 2, isComplete: false })
})

it('another server, which remembers the history that was given up, takes the new one by a checkpoint of it alone', async () => {
  const memory = memoryOf({ incarnation: store.incarnation, size: 10n, root: '07'.repeat(32) })
  const id = incarnationId(2, '6c2f1de8-0000-4000-8000-000000000000')
  const before = await open(origin)
  await store.transaction({ name: 'restore', deadlineMs: 10_000 }, async t => {
    await beginIncarnation(t, id, new Date())
    await before.appendIn(t, [entry({ kind: 'restored', actor: { kind: 'operator' }, facts: [incarnationFact(id)] })])
  })
  await store.close()
  store = await openStore(await newPGlite(folder))
  const name = `${origin}-2`
  const [old] = [await note(2n, origin)]
  const first = await open(name)
  const checkpoint = await first.checkpoint()
  await expect(open(name, { memory })).rejects.toMatchObject({ hint: expect.stringContaining('start --checkpoint') })
  await expect(open(name, { memory, trusted: [old] })).rejects.toMatchObject({ code: 'internal' })
  await (await open(name, { memory, trusted: [checkpoint] })).append(entry())
  expect(memory.head()).toMatchObject({ incarnation: id })
  // And no server goes back to the first.
  await expect(open(origin)).rejects.toMatchObject({ message: expect.stringContaining('was given up') })
})

it('a head of the history that was given up is given to nobody as the newest, though our key once signed it and it is longer', async () => {
  const name = `${origin}-2`
  const ledger = await open(name, { fence: () => undefined, checkpointEveryMs: 1 })
  await ledger.append(entry())
  await store.execute('insert into ledger_checkpoint (size, note, at) values ($1, $2, now())', [
    99n,
    await note(99n, origin),
  ])
  expect(parseCheckpoint(await ledger.checkpoint())).toMatchObject({ origin: name })
})
