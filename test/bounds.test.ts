import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '#server/http/serve.ts'

const root = join(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const page = read('docs/internals/bounds.md')
const rows = page
  .split('\n')
  .filter(line => line.startsWith('| ') && !line.startsWith('| what |'))
  .map(line => line.split(/ \| |^\| | \|$/).slice(1, -1))
/** The rooms that meet the outside. */
const DOORS = ['ca-server/http', 'ca-server/identity', 'ca-server/hosts']
const sources = [
  ...DOORS.flatMap(folder =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map(name => `${folder}/${name}`),
  ),
  ...[
    'ca-server/listen.ts',
    'ca-server/build-rooms.ts',
    'ca-server/ledger/log/group.ts',
    'shared/api/resources/host-stream.ts',
  ],
].filter(file => file.endsWith('.ts') && !file.endsWith('.test.ts'))
/** How old something may be that is held in memory, and what one clock may differ from another, grows by nobody's doing. */
const NO_SIZE = new Set(['MAX_AGE_MS', 'MAX_GAP_MS', 'MAX_SKEW', 'MAX_BATCH', 'MAX_IN_FLIGHT', 'MAX_IDENTITY'])

describe('docs/internals/bounds.md', () => {
  it('says each number as its source says it', () => {
    expect(rows.length).toBeGreaterThan(40)
    for (const [what = '', number = '', where = ''] of rows) {
      const [, file = ''] = /^`([^`]+)`$/.exec(where) ?? []
      const source = read(file)
      for (const [, literal = ''] of number.matchAll(/`([^`]*\d[^`]*)`/g))
        expect(source.includes(literal), `${what}: ${literal} stands not in ${file}`).toBe(true)
    }
  })

  it('leaves out none of the rooms that meet the outside', () => {
    const named = rows.map(([, number = '', where = '']) => `${where} ${number}`).join('\n')
    for (const file of sources) {
      const source = read(file)
      for (const [, name = ''] of source.matchAll(/^(?:export )?const ((?:MAX|MOST)[A-Z_]*) =/gm))
        if (!NO_SIZE.has(name))
          expect(named.includes(`\`${file}\``) && new RegExp(`\\b${name} =`).test(named), `${file}: ${name}`).toBe(true)
      for (const [, literal = ''] of source.matchAll(/(burst: \d+, perMinute: \d+)/g))
        expect(named.includes(literal), `${file}: ${literal}`).toBe(true)
    }
    for (const name of Object.keys(LIMITS)) expect(named.includes(`\`${name}: `), `LIMITS.${name}`).toBe(true)
  })

  it('names tests that are there, by file and name', () => {
    const plain = (text: string) => text.replaceAll('\\', '')
    for (const [what = '', , , , , test = ''] of rows) {
      const named = [...test.matchAll(/`([\w./-]+\.test\.ts)` › (.+?)(?=<br>|$)/g)]
      expect(named.length, what).toBeGreaterThan(0)
      for (const [, file = '', name = ''] of named)
        expect(plain(read(file)).includes(plain(name)), `${file} › ${name}`).toBe(true)
    }
  })
})
