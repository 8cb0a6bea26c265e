import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { z } from 'zod'
import { openPins } from './index.ts'

const schema = z.strictObject({ size: z.int() })
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-pins-'))
})
afterEach(() => rmSync(folder, { recursive: true }))
const file = () => join(folder, 'pins', 'log-head.json')

it('what was pinned is read back by the next start, from a file that its owner alone can read', async () => {
  expect(await openPins(folder).read('log-head', schema)).toBeUndefined()
  await openPins(folder).write('log-head', { size: 7 })
  expect(await openPins(folder).read('log-head', schema)).toEqual({ size: 7 })
  expect(statSync(file()).mode & 0o777).toBe(0o600)
  expect(statSync(join(folder, 'pins')).mode & 0o777).toBe(0o700)
})

it('pins that are written at the same time stand as they were called, and leave nothing else behind', async () => {
  const pins = openPins(folder)
  await Promise.all(Array.from({ length: 50 }, (_, i) => pins.write('log-head', { size: i })))
  expect(await pins.read('log-head', schema)).toEqual({ size: 49 })
  expect(readdirSync(join(folder, 'pins'))).toEqual(['log-head.json'])
})

it('a pin that is damaged, or that others could have written, is an error and never counts as none', async () => {
  const pins = openPins(folder)
  await pins.write('log-head', { size: 7 })
  chmodSync(file(), 0o620)
  await expect(pins.read('log-head', schema)).rejects.toMatchObject({ code: 'unavailable' })
  chmodSync(file(), 0o600)
  for (const text of ['', '{"size":', '{"size":"7"}', '{"size":7,"more":1}']) {
    writeFileSync(file(), text)
    await expect(pins.read('log-head', schema)).rejects.toMatchObject({ message: expect.stringContaining(file()) })
  }
  rmSync(file())
  symlinkSync(join(folder, 'elsewhere'), file())
  await expect(pins.read('log-head', schema)).rejects.toMatchObject({ code: 'unavailable' })
})

it('where a pin can not be written, the old one stays and the writer hears of it', async () => {
  const pins = openPins(folder)
  await pins.write('log-head', { size: 7 })
  const blocked = openPins(join(file(), 'below-a-file'))
  await expect(blocked.write('log-head', { size: 8 })).rejects.toMatchObject({ code: 'unavailable' })
  expect(await pins.read('log-head', schema)).toEqual({ size: 7 })
})
