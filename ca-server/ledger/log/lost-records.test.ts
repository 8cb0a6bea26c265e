import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { openStore, type Store } from '#server/store/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { encodeCheckpoint, leafHash, noteKeyId, parseCheckpoint, signedNote, TreeEdge } from '#shared/merkle/index.ts'
import {
  entry,
  issueRequest,
  logKey,
  logKeys,
  onlyKey,
  openLedger,
  origin,
  sealKey,
  subjects,
} from '#test/support/contract/ledger.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { createLedger, type Ledger } from '../index.ts'
import type { KeptHead, LogMemory } from './memory.ts'

/** What a host shows, by a tree head that the log's key signed, counts for more than the database. */

let folder: string
let store: Store
let ledger: Ledger
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-lost-'))
  store = await openStore(await newPGlite(folder))
  for (let n = 0; n < 3; n++) await (await openLedger(store)).append(entry())
})
beforeEach(async () => {
  ledger = await openLedger(store)
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})

const signed = (size: bigint, root: Uint8Array, key = logKey, of = origin) =>
  signedNote(encodeCheckpoint({ origin: of, size, root }), {
    name: of,
    keyId: noteKeyId(of, logKey.publicKey),
    sign: key.sign,
  })
const openLedgerOf = (name: string) =>
  createLedger({ store, origin: name, logKeys: onlyKey({ ...logKey, name }), sealKey, now: () => new Date() })
const issue = async () => ledger.issue(issueRequest(await ledger.readEpochs(subjects)))

describe('a tree head that is shown', () => {
  it('of a longer log, signed by the log key: nothing is issued or recorded from then on, and it says how much is missing', async () => {
    expect(await ledger.hear(await ledger.checkpoint())).toBe(undefined)
    await issue()
    const { size } = parseCheckpoint(await ledger.checkpoint())
    const shown = await signed(size + 6n, new Uint8Array(32).fill(7))
    expect(await ledger.hear(shown)).toBe(
      `the audit log had ${size + 6n} records once, and the database holds ${size}: 6 were lost`,
    )
    const lost = { code: 'unavailable', hint: expect.stringContaining('keyman-server restore') }
    await expect(issue()).rejects.toMatchObject(lost)
    await expect(ledger.append(entry())).rejects.toMatchObject(lost)
    await expect(
      store.transaction({ name: 'revoke', deadlineMs: 5_000 }, t =>
        ledger.appendIn(t, [entry({ kind: 'revoked', actor: { kind: 'server' } })]),
      ),
    ).rejects.toMatchObject(lost)
    expect(() => ledger.assertFresh()).toThrow('6 were lost')
  })

  it('of the same length with other records: the same', async () => {
    expect(await ledger.hear(await signed(3n, new Uint8Array(32).fill(7)))).toContain('are not those')
    await expect(issue()).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('of other records is not come by because the database shows a tree of those; of its own it is', async () => {
    const [kept] = await store.query(
      'select hashes from ledger_tile where level = 0 and index = 0',
      [],
      z.object({ hashes: z.instanceof(Uint8Array) }),
    )
    const put = (tile: Uint8Array) =>
      store.execute('update ledger_tile set hashes = $1 where level = 0 and index = 0', [tile])
    const own = TreeEdge.empty()
    own.append([kept?.hashes.slice(0, 32) ?? new Uint8Array(32), kept?.hashes.slice(32, 64) ?? new Uint8Array(32)])
    expect(await ledger.hear(await signed(2n, own.root()))).toBe(undefined)
    const other = TreeEdge.empty()
    const leaves = Array.from({ length: (kept?.hashes.length ?? 0) / 32 }, (_, n) => leafHash(utf8(`other ${n}`)))
    const [tile] = other.append(leaves)
    const before = TreeEdge.empty()
    before.append(leaves.slice(0, 2))
    const second = await openLedger(store)
    try {
      await put(tile?.hashes ?? new Uint8Array())
      expect(await ledger.hear(await signed(2n, before.root()))).toContain('are not those')
      await expect(issue()).rejects.toMatchObject({ code: 'unavailable' })
      // Nor because it shows none.
      await put(new Uint8Array(32))
      expect(await second.hear(await signed(2n, before.root()))).toContain('are not those')
    } finally {
      await put(kept?.hashes ?? new Uint8Array())
    }
  })

  it('that the key has not signed, or of another log, stops nothing', async () => {
    const root = new Uint8Array(32).fill(7)
    const other = { ...logKey, sign: async () => new Uint8Array(64).fill(1) }
    for (const note of [
      await signed(100n, root, other),
      await signed(100n, root, logKey, 'other.example.com/log'),
      'no',
    ])
      await expect(ledger.hear(note)).rejects.toMatchObject({ code: 'invalid-input' })
    await issue()
  })

  it('is remembered: the next start refuses, too', async () => {
    const kept: { head?: KeptHead } = {}
    const memory: LogMemory = {
      head: () => kept.head,
      state: () => undefined,
      keepState: async () => {},
      async keepHead(head) {
        kept.head = head
      },
    }
    const open = () => createLedger({ store, origin, logKeys, sealKey, memory, sawEmpty: true, now: () => new Date() })
    ledger = await open()
    await ledger.hear(await signed(100n, new Uint8Array(32).fill(7)))
    await ledger.stop().catch(() => {})
    await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('has 100') })
  })

  it('of a newer history stops the server of the old one; of one that was given up it says nothing', async () => {
    const of = async (name: string) => signed(100n, new Uint8Array(32).fill(7), logKey, name)
    const newer = await openLedgerOf(`${origin}-2`)
    expect(await newer.hear(await of(origin))).toBe(undefined)
    await newer.append(entry())
    expect(await ledger.hear(await of(`${origin}-2`))).toContain('was given up')
    await expect(issue()).rejects.toMatchObject({ code: 'internal' })
  })

  it('the database of another history under a running server stops it; a row that nobody recorded begins none', async () => {
    await store.execute(`insert into incarnation (number, id) values (2, 'r2-other')`, [])
    await expect(ledger.follow()).rejects.toMatchObject({ message: expect.stringContaining('r2-other came after it') })
    await expect(issue()).rejects.toMatchObject({ code: 'internal' })
    await store.close()
    store = await openStore(await newPGlite(folder))
    await expect(openLedger(store)).rejects.toMatchObject({ message: expect.stringContaining('nobody has recorded') })
  })
})
