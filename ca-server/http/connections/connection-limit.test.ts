import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { connectionsFor, connectionsPerAddress, openFilesLimit } from './connection-limit.ts'

it('two listeners that are full leave files for the rest of the server, and one address leaves most to others', () => {
  for (const files of [1024, 4096, 20_000, 65_536, 1_048_576]) {
    expect(2 * connectionsFor(files)).toBeLessThanOrEqual(files - 256)
    expect(connectionsFor(files)).toBeGreaterThan(300)
    expect(4 * connectionsPerAddress(connectionsFor(files))).toBeLessThanOrEqual(connectionsFor(files))
  }
  expect(connectionsFor(1_048_576)).toBe(40_000)
  expect(connectionsFor(undefined)).toBe(40_000)
  expect(connectionsFor(64)).toBe(32)
})

it.skipIf(process.platform !== 'linux')('the limit is the one of this very process', () => {
  const script = `import('${new URL('./connection-limit.ts', import.meta.url)}').then(m => console.log(m.openFilesLimit()))`
  const limited = execFileSync('/bin/sh', ['-c', 'ulimit -n 777; exec "$0" -e "$1"', process.execPath, script])
  expect(limited.toString().trim()).toBe('777')
  expect(openFilesLimit()).toBeGreaterThan(0)
})
