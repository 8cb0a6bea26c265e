import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '..', '..')

it('docs/internals/attacks.md names tests that are there, by file and name', () => {
  const page = readFileSync(join(root, 'docs', 'internals', 'attacks.md'), 'utf8')
  const named = [...page.matchAll(/`([\w./-]+\.test\.ts)` › (.+?)(?=<br>| \|$)/gm)]
  expect(named.length).toBeGreaterThan(100)
  const plain = (text: string) => text.replaceAll('\\', '')
  for (const [, file = '', name = ''] of named)
    expect(plain(readFileSync(join(root, file), 'utf8')).includes(plain(name)), `${file} › ${name}`).toBe(true)
})
