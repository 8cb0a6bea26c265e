import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { anyRow, storeContract } from '#test/support/contract/store.ts'
import { openStore, type Store } from '../index.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-pglite-'))
const failures: unknown[] = []
let store: Store
beforeAll(async () => {
  store = await openStore({ engine: 'pglite', folder }, error => failures.push(error))
  await store.execute('create table contract (id int primary key, note text)', [])
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})

describe('a store on PGlite', () => {
  storeContract(() => store, failures)

  it('refuses a folder that another process has open, and says which', async () => {
    await expect(openStore({ engine: 'pglite', folder })).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(new RegExp(`in use by process ${process.pid} since 20`)),
    })
  })

  it('keeps its rows and its incarnation when it is opened again', async () => {
    await store.execute("insert into contract (id, note) values (100, 'kept')", [])
    const { incarnation } = store
    await store.close()
    store = await openStore({ engine: 'pglite', folder })
    expect(await store.query('select note from contract where id = 100', [], anyRow)).toEqual([{ note: 'kept' }])
    expect(store.incarnation).toBe(incarnation)
  })

  it('gives its folder back when its process is killed, with what was committed', async () => {
    await store.close()
    const program = `
      const { openStore } = await import(${JSON.stringify(new URL('../index.ts', import.meta.url).href)})
      const store = await openStore({ engine: 'pglite', folder: ${JSON.stringify(folder)} })
      await store.execute('insert into contract (id) values (200)', [])
      console.log('committed')
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    await expect(openStore({ engine: 'pglite', folder })).rejects.toThrow(`in use by process ${child.pid}`)
    child.kill('SIGKILL')
    await once(child, 'exit')
    store = await openStore({ engine: 'pglite', folder })
    expect(await store.query('select id from contract where id = 200', [], anyRow)).toHaveLength(1)
  })
})
