import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KeymanError } from '#shared/errors.ts'
import { changeInclude } from '../ssh/include.ts'
import { listContexts, readContext } from './context.ts'
import { readIfThere, remove, writeFile } from './files.ts'
import { folders, makeFolder } from './folders.ts'
import { takeTurn } from './turn.ts'

/** What the system refuses is told with the path, what it means and what to do, whoever touches the file. */
describe('a file that the system refuses', () => {
  let home: string
  let file: string
  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), 'keyman-files-'))
    file = join(home, 'file')
    writeFileSync(file, '')
    mkdirSync(join(home, 'folder'))
    symlinkSync('loop', join(home, 'loop'))
  })
  afterAll(() => rmSync(home, { recursive: true, force: true }))
  const refusal = async (work: () => unknown) => {
    try {
      await work()
    } catch (error) {
      if (error instanceof KeymanError && error.hint) return error.message
      throw error
    }
    throw new Error('it was not refused')
  }
  const places = (config: string) =>
    folders({ HOME: home, XDG_CONFIG_HOME: config, XDG_RUNTIME_DIR: join(home, 'none') })

  it('is named, with what it means, when it is written or read', async () => {
    expect(await refusal(() => writeFile(join(file, 'x'), '', 0o600))).toBe(
      `${file} can't be written: a part of its path is a file, not a folder (EEXIST)`,
    )
    expect(await refusal(() => writeFile(join(file, 'x', 'y'), '', 0o600))).toBe(
      `${file}/x can't be written: a part of its path is a file, not a folder (ENOTDIR)`,
    )
    // Nobody, root included, makes a file there.
    expect(await refusal(() => writeFile('/proc/self/x', '', 0o600))).toMatch(
      /^\/proc\/self\/x can't be written: .+ \(E/,
    )
    expect(await refusal(() => writeFile(join(home, 'folder'), '', 0o600))).toBe(
      `${home}/folder can't be written: it is a folder (EISDIR)`,
    )
    expect(await refusal(() => readIfThere(join(home, 'folder')))).toBe(
      `${home}/folder can't be read: it is a folder (EISDIR)`,
    )
    expect(await refusal(() => readIfThere(join(home, 'loop')))).toContain('it is a link that leads to itself (ELOOP)')
    expect(await refusal(() => makeFolder(join(file, 'a', 'b')))).toContain('ENOTDIR')
  })
  it('is named for locks, contexts and the ssh configuration too', async () => {
    expect(await refusal(() => takeTurn(join(file, 'x', 'lock'), 1000, async () => true))).toContain('ENOTDIR')
    expect(await refusal(() => takeTurn(join(home, 'folder'), 1000, async () => true))).toContain('EISDIR')
    mkdirSync(join(home, 'config', 'keyman'), { recursive: true })
    writeFileSync(join(home, 'config', 'keyman', 'contexts'), '')
    expect(await refusal(() => listContexts(places(join(home, 'config'))))).toContain("contexts can't be read")
    mkdirSync(join(home, 'other', 'keyman', 'contexts', 'acme.json'), { recursive: true })
    expect(await refusal(() => readContext(places(join(home, 'other')), 'acme'))).toContain("acme.json can't be read")
    const held = process.env.HOME
    process.env.HOME = file
    try {
      expect(await refusal(() => changeInclude(places(home), 'install'))).toContain(`${file}`)
    } finally {
      process.env.HOME = held
    }
  })
  it('is no error where it is just not there', () => {
    expect(readIfThere(join(home, 'nothing', 'there'))).toBeUndefined()
    expect(readIfThere(join(file, 'x'))).toBeUndefined()
    expect(listContexts(places(join(home, 'nothing')))).toEqual([])
    expect(() => remove(join(home, 'nothing'))).not.toThrow()
  })
})
