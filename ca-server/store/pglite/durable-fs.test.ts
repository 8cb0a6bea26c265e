import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { afterAll, describe, expect, it } from 'vitest'
import { createCluster, DURABLE_START, DurableFS } from './durable-fs.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-durable-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('a durable PGlite', () => {
  it('syncs each commit, which it does not when started as usual', async () => {
    const path = join(folder, 'pgdata')
    await createCluster(path)
    expect(existsSync(`${path}.new`)).toBe(false)
    const syncsOfCommit = async (options: { startParams?: string[] }) => {
      const fs = new DurableFS(path)
      const database = await PGlite.create({ fs, ...options })
      await database.exec('create table if not exists t (n int); insert into t values (1)')
      const before = fs.syncs
      await database.exec('insert into t values (2)')
      await database.exec('insert into t values (3)')
      const after = fs.syncs
      await database.close()
      return after - before
    }
    expect(await syncsOfCommit({ startParams: DURABLE_START })).toBeGreaterThanOrEqual(2)
    expect(await syncsOfCommit({})).toBe(0)
  })
})
