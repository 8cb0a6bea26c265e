import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore, type Store } from '#server/store/index.ts'
import { issueRequest, ledgerContract, openLedger, revoke, subjects } from '#test/support/contract/ledger.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { EpochsChanged, type Ledger } from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-ledger-'))
let store: Store
let ledger: Ledger
beforeAll(async () => {
  store = await openStore(await newPGlite(folder))
  ledger = await openLedger(store)
})
afterAll(async () => {
  await ledger.stop()
  await store.close()
  rmSync(folder, { recursive: true })
})

describe('a ledger on PGlite', () => {
  ledgerContract(() => ({ store, ledger }))

  it('lets no certificate slip past a revocation that races its issue, in 100 interleavings', async () => {
    for (let round = 0; round < 100; round++) {
      const epochs = await ledger.readEpochs(subjects)
      const [issued, revoked] = await Promise.all([
        ledger.issue(issueRequest(epochs)).catch((error: unknown) => error),
        revoke(store, ledger),
      ])
      if (issued instanceof EpochsChanged) continue
      expect(revoked.map(({ record }) => record)).toContain(Object(issued).index)
    }
  })
})
