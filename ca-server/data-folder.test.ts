import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { checkDataFolder } from './data-folder.ts'

it('a data folder that others may write to is refused, with what to do', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-data-folder-'))
  try {
    for (const mode of [0o700, 0o750, 0o755]) {
      chmodSync(folder, mode)
      expect(() => checkDataFolder(folder)).not.toThrow()
    }
    for (const mode of [0o777, 0o770, 0o702]) {
      chmodSync(folder, mode)
      expect(() => checkDataFolder(folder)).toThrow(`${folder} has mode ${mode.toString(8)}: others may write there`)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
