import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { StoreConfig } from '#server/store/index.ts'
import { createCluster } from '#server/store/pglite/durable-fs.ts'
import { withLock } from '../../../scripts/lock.mjs'

const run = promisify(execFile)

/**
 * What `make` makes at `to`: made once in a run of `npm test`, and copied from then on. Outside of such a run it is made each
 * time.
 */
export async function fromTemplate(name: string, to: string, make: (to: string) => Promise<void>): Promise<void> {
  if (existsSync(to)) return
  const folder = process.env.KEYMAN_TEST_FOLDER
  if (folder === undefined) return make(to)
  const template = join(folder, name)
  if (!existsSync(template))
    await withLock(
      `${template}.lock`,
      () => {},
      async () => {
        if (existsSync(template)) return
        await make(to)
        await run('cp', ['-a', to, `${template}.new`])
        renameSync(`${template}.new`, template)
      },
    )
  if (!existsSync(to)) await run('cp', ['-a', template, to])
}

/**
 * An embedded database in a folder that has none: as the server makes it, before the first migration. To run initdb in WebAssembly
 * takes some 2 s of CPU.
 */
export async function newPGlite(folder: string): Promise<StoreConfig> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  await fromTemplate('pglite', join(folder, 'pgdata'), createCluster)
  return { engine: 'pglite', folder }
}
