import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { changeContext, contextTurn, pinContext } from './change-context.ts'
import { type Context, currentContext, readContext, writeContext } from './context.ts'
import { type Folders, folders } from './folders.ts'
import { takeTurn } from './turn.ts'

const parent = mkdtempSync(join(tmpdir(), 'keyman-change-context-'))
afterAll(() => rmSync(parent, { recursive: true, force: true }))

const signature = Buffer.alloc(68).toString('base64')
const checkpoint = (size: number, log = 'acme/log') =>
  `${log}\n${size}\n${Buffer.alloc(32, size).toString('base64')}\n\n— ${log} ${signature}\n`
const bundle = (version: number, machinesUrl = 'https://keys.example.com:4443') => ({
  organisation: 'acme',
  machinesUrl,
  publicUrl: 'https://keys.example.com',
  rootFingerprint: `SHA256:${version}`,
  bundle: { document: `bundle ${version}`, signatures: [] },
  bundleVersion: version,
  machinesRoot: `root ${version}`,
  logKey: { name: 'acme/log', key: '' },
  hostAuthorities: [`authority ${version}`],
})
const held: Context = {
  ...bundle(5),
  hostSuffixes: ['prod.example.com'],
  hosts: [{ name: 'web1.prod.example.com', logins: ['deploy'] }],
  checkpoint: checkpoint(50),
}

describe('a context', () => {
  let home: string
  let places: Folders
  beforeEach(() => {
    home = mkdtempSync(join(parent, 'home-'))
    places = folders({ HOME: home, XDG_RUNTIME_DIR: join(home, 'none') })
    writeContext(places, held)
  })
  const onDisk = () => readContext(places, 'acme')

  it('never goes back to an older trust bundle, nor to a second one of the version that is held', async () => {
    for (const stale of [bundle(4), { ...bundle(5), bundle: { document: 'another', signatures: [] } }]) {
      const hosts = [{ name: 'db1.prod.example.com', logins: ['alice'] }]
      await changeContext(places, 'acme', () => ({ ...stale, hostSuffixes: ['example.com'], hosts }))
      expect(onDisk()).toEqual({ ...held, hosts })
      await pinContext(places, { ...stale, hostSuffixes: ['example.com'] })
      expect(onDisk()).toEqual({ ...held, hosts })
    }
  })
  it('never goes back to a checkpoint of a smaller log, whoever writes', async () => {
    await changeContext(places, 'acme', () => ({ checkpoint: checkpoint(49) }))
    expect(onDisk()).toEqual(held)
    await changeContext(places, 'acme', () => ({ ...bundle(6), checkpoint: checkpoint(2) }))
    expect(onDisk()).toEqual({ ...held, ...bundle(6) })
  })
  it('takes a smaller checkpoint of another log once the root of trust has signed that log, and none of the old one then', async () => {
    const next = checkpoint(7, 'acme/log-2')
    await changeContext(places, 'acme', () => ({ checkpoint: next }))
    expect(onDisk()).toEqual(held)
    const logKey = { name: 'acme/log-2', key: '' }
    await pinContext(places, { ...bundle(6), logKey, hostSuffixes: [] })
    // Until then the old one stands, so that the person is told of both.
    expect(onDisk()).toMatchObject({ checkpoint: checkpoint(50), logKey })
    await changeContext(places, 'acme', () => ({ checkpoint: next }))
    expect(onDisk()).toMatchObject({ checkpoint: next })
    await changeContext(places, 'acme', () => ({ checkpoint: checkpoint(90) }))
    expect(onDisk()).toMatchObject({ checkpoint: next })
  })
  it('goes forward, and keeps what the change does not name', async () => {
    const moved = bundle(5, 'https://localhost:4444')
    expect(await changeContext(places, 'acme', () => moved)).toEqual({ ...held, ...moved })
    await changeContext(places, 'acme', () => ({ checkpoint: checkpoint(51) }))
    await pinContext(places, { ...bundle(6), hostSuffixes: ['eu.example.com'] })
    expect(onDisk()).toEqual({
      ...held,
      ...bundle(6),
      hostSuffixes: ['eu.example.com'],
      checkpoint: checkpoint(51),
    })
    expect(currentContext(places)?.organisation).toBe('acme')
  })
  it('is changed as it is when the turn comes, not as it was when the change began', async () => {
    let change: Promise<Context> | undefined
    await takeTurn(contextTurn(places, 'acme'), 10_000, async () => {
      change = changeContext(places, 'acme', ({ hostSuffixes }) => ({
        hostSuffixes: [...hostSuffixes, 'b.example.com'],
      }))
      writeContext(places, { ...held, hostSuffixes: ['a.example.com'] })
    })
    await change
    expect(onDisk()?.hostSuffixes).toEqual(['a.example.com', 'b.example.com'])
  })
  it('loses nothing where many processes change it at once', async () => {
    const module = JSON.stringify(new URL('./change-context.ts', import.meta.url).href)
    const changed = [1, 2, 3, 4].map(
      n =>
        new Promise(resolve =>
          spawn(
            process.execPath,
            [
              '--input-type=module',
              '-e',
              `import { changeContext } from ${module}
               for (let i = 0; i < 10; i++)
                 await changeContext(${JSON.stringify(places)}, 'acme', ({ hostSuffixes }) =>
                   ({ hostSuffixes: [...hostSuffixes, 'x' + ${n} + '-' + i] }))`,
            ],
            { stdio: 'inherit' },
          ).once('exit', resolve),
        ),
    )
    expect(await Promise.all(changed)).toEqual([0, 0, 0, 0])
    expect(onDisk()?.hostSuffixes).toHaveLength(41)
  })
  it('is written by nothing else in the program', () => {
    const cli = join(import.meta.dirname, '..')
    const sources = readdirSync(cli, { recursive: true, encoding: 'utf8' }).filter(name =>
      /(?<!\.test)\.ts$/.test(name),
    )
    const writers = sources.filter(name => readFileSync(join(cli, name), 'utf8').includes('writeContext('))
    expect(writers.sort()).toEqual(['context/change-context.ts', 'context/context.ts'])
  })
  it('that was removed meanwhile is not made again by a change, only by a login', async () => {
    rmSync(places.config, { recursive: true })
    await expect(changeContext(places, 'acme', () => ({ checkpoint: checkpoint(60) }))).rejects.toThrow(
      'not known here',
    )
    expect(onDisk()).toBeUndefined()
    await pinContext(places, { ...bundle(5), hostSuffixes: [] })
    expect(onDisk()).toEqual({ ...bundle(5), hostSuffixes: [], hosts: [] })
  })
})
