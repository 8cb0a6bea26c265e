import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'

/**
 * The rules of `docs/internals/layout.md`, held against every import of the product's files: static, dynamic, type-only.
 * Tests may reach anywhere, so `*.test.ts`, `test/` and `bench/` are left out.
 */
const root = dirname(import.meta.dirname)
const PROGRAMS = ['ca-server', 'agent', 'cli', 'web']

/** Of the server's rooms, each may import those before it; rooms of one line don't know each other. */
const ORDER: readonly (readonly string[])[] = [
  ['config', 'log'],
  ['keystore', 'store', 'pins'],
  ['ledger'],
  ['identity'],
  ['access'],
  ['authority', 'vault'],
  ['hosts', 'workloads', 'logins'],
  ['jobs', 'http'],
  ['demo'],
]
/** All other files right below `ca-server/`, and the operator's commands, put the rooms together: they come last. */
const COMPOSITION = ORDER.length

/** Where a vendor's package may be imported: so leaving it, or a new version of it, touches one place. */
const HOMES: Readonly<Record<string, readonly (string | RegExp)[]>> = {
  pg: ['ca-server/store/'],
  '@electric-sql/pglite': ['ca-server/store/'],
  // What a room's tables are, and its statements.
  'drizzle-orm': ['ca-server/store/', /^ca-server\/.+\/((tables|records|stated-rows)\.ts|records\/)/],
  pkcs11js: ['ca-server/keystore/pkcs11/'],
  hono: ['ca-server/http/'],
  '@hono/node-server': ['ca-server/http/'],
  ws: ['ca-server/http/', 'agent/'],
  '@simplewebauthn/server': ['ca-server/identity/'],
  'smol-toml': ['ca-server/config/', 'agent/config', 'cli/'],
  preact: ['web/'],
  '@simplewebauthn/browser': ['web/'],
  zod: ['shared/', 'ca-server/', 'agent/', 'cli/', 'web/'],
}

/** What a file that calls itself pure may use of Node: no disk, no network, no other process, no clock of its own. */
const PURE_BUILTINS = ['node:crypto', 'node:util', 'node:buffer', 'node:assert', 'node:url', 'node:path']

type Import = {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
  /** Loaded when the file is, not when something in it asks for it. */
  readonly atOnce: boolean
}

const files = ['shared', ...PROGRAMS].flatMap(folder =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => /\.tsx?$/.test(name) && !/\.test\.tsx?$/.test(name))
    .map(name => `${folder}/${name}`),
)
const texts = new Map(files.map(file => [file, readFileSync(join(root, file), 'utf8')]))
const subpaths: Readonly<Record<string, string>> = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).imports

/** Paths from the project's folder for our own files, bare names for the rest. Formatting is Biome's, so quotes are known. */
export function importsOf(file: string, text: string): Import[] {
  const statement = /^\s*(?:import|export)\b( type\b)?(?:[^'"`;]*?\bfrom)?\s*'([^']+)'/gm
  const call = /\bimport\(()\s*['"`]([^'"`]+)['"`]/g
  const found = (matches: Iterable<RegExpExecArray>, atOnce: boolean) =>
    [...matches].map(([, typeOnly, to = '']) => ({
      from: file,
      to: resolve(file, to),
      typeOnly: Boolean(typeOnly),
      atOnce: atOnce && !typeOnly,
    }))
  return [...found(text.matchAll(statement), true), ...found(text.matchAll(call), false)]
}

function resolve(file: string, specifier: string): string {
  if (specifier.startsWith('.')) return relative(root, join(root, dirname(file), specifier))
  const prefix = Object.keys(subpaths).find(key => specifier.startsWith(key.replace('*', '')))
  if (!specifier.startsWith('#') || prefix === undefined) return specifier
  const folder = subpaths[prefix]?.replace(/^\.\/|\*$/g, '') ?? ''
  return folder + specifier.slice(prefix.length - 1)
}

const imports = files.flatMap(file => importsOf(file, texts.get(file) ?? ''))
const own = imports.filter(({ to }) => ['shared', ...PROGRAMS, 'test', 'bench', 'scripts'].includes(top(to)))
const vendors = imports.filter(({ to }) => !own.some(known => known.to === to) && !isBuiltin(to))

function top(path: string): string {
  return path.split('/')[0] ?? ''
}
function isBuiltin(name: string): boolean {
  return name.startsWith('node:') || builtinModules.includes(name)
}
/** `ca-server/http/edge.ts` lies in `http`; `ca-server/log.ts` is a room of one file. */
function roomOf(path: string): string {
  const [, room = '', inner] = path.split('/')
  return inner === undefined ? room.replace(/\.ts$/, '') : room
}
/** Where two files that lie in neighbouring folders part: `agent/sshd` and `agent/state`. Undefined where one lies above the other. */
function neighbours({ from, to }: Pick<Import, 'from' | 'to'>): [string, string] | undefined {
  const [a, b] = [from.split('/'), to.split('/')]
  let depth = 0
  while (depth < a.length - 1 && depth < b.length - 1 && a[depth] === b[depth]) depth++
  if (depth === 0 || depth >= a.length - 1 || depth >= b.length - 1) return undefined
  return [a.slice(0, depth + 1).join('/'), b.slice(0, depth + 1).join('/')]
}
const show = (list: readonly Import[]) => list.map(({ from, to }) => `${from} -> ${to}`)

describe('imports go one way', () => {
  it('the reader of imports sees each kind', () => {
    const text = `import 'a'\nimport type { B } from 'b'\nimport {\n  c,\n} from 'c'\nexport * from 'd'\nconst e = await import('e')\nlet f: import('f').F`
    expect(importsOf('x.ts', text).map(({ to }) => to)).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
    expect(importsOf('cli/x.ts', `import '#server/http/y.ts'\nimport './z.ts'`).map(({ to }) => to)).toEqual([
      'ca-server/http/y.ts',
      'cli/z.ts',
    ])
  })

  it('every import of our own leads to a file', () => {
    expect(show(own.filter(({ to }) => !existsSync(join(root, to))))).toEqual([])
  })

  it('shared imports nothing of ours; each program imports itself and shared, the pages of it only the API', () => {
    const allowed = ({ from, to }: Import) =>
      top(from) === top(to) ||
      (top(from) === 'web'
        ? to.startsWith('shared/api/') || isUsedByApi(to)
        : top(to) === 'shared' && top(from) !== 'shared') ||
      // Fetching a Debian package is written once, for set-up, which runs before anything can be imported.
      (roomOf(from) === 'demo' && to === 'scripts/debian-packages.mjs')
    expect(show(own.filter(edge => !allowed(edge)))).toEqual([])
  })

  it("the server's rooms import only those before them", () => {
    const rank = (path: string) => {
      const found = ORDER.findIndex(rooms => rooms.includes(roomOf(path)))
      const composes = path.split('/').length === 2 || roomOf(path) === 'operator'
      return found < 0 && composes ? COMPOSITION : found
    }
    const inside = own.filter(({ from, to }) => top(from) === 'ca-server' && top(to) === 'ca-server')
    expect([...new Set(inside.flatMap(({ from, to }) => [from, to]))].filter(path => rank(path) < 0)).toEqual([])
    const backwards = ({ from, to }: Import) => rank(to) >= rank(from) && rank(to) < COMPOSITION
    const outOfOrder = (edge: Import) => roomOf(edge.from) !== roomOf(edge.to) && backwards(edge)
    expect(show(inside.filter(outOfOrder))).toEqual([])
    expect(show(inside.filter(({ from, to }) => rank(to) === COMPOSITION && rank(from) < COMPOSITION))).toEqual([])
    expect(show(inside.filter(({ to }) => to === 'ca-server/main.ts'))).toEqual([])
  })

  it('neighbouring folders import one way only, whatever is between them', () => {
    const ways = new Map<string, Set<string>>()
    for (const pair of own.map(neighbours)) {
      if (pair) ways.set(pair[0], (ways.get(pair[0]) ?? new Set()).add(pair[1]))
    }
    const leadsTo = (from: string, to: string, seen = new Set<string>()): boolean =>
      [...(ways.get(from) ?? [])].some(next => {
        if (next === to) return true
        if (seen.has(next)) return false
        seen.add(next)
        return leadsTo(next, to, seen)
      })
    expect([...ways.keys()].filter(folder => leadsTo(folder, folder))).toEqual([])
    const backwards = neighbours({ from: 'agent/sshd/a.ts', to: 'agent/state/deep/b.ts' })
    expect(backwards).toEqual(['agent/sshd', 'agent/state'])
    expect(neighbours({ from: 'agent/sshd/a.ts', to: 'agent/b.ts' })).toBeUndefined()
  })

  it('a folder is seen in one look: at most some twenty files, tests apart', () => {
    const counts = new Map<string, number>()
    for (const file of files) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1)
    expect([...counts].filter(([, count]) => count > 20)).toEqual([])
  })

  it('between rooms only through the door, index.ts', () => {
    // `http` has one file a resource and no door: by the order above, only what puts the rooms together imports it.
    const rooms =
      /^(ca-server\/(?!http\/|demo\/|operator\/)[^/]+\/|shared\/(?:ssh|x509|tls-names|merkle|trust|audit)\/)/
    const closed = own.filter(({ from, to }) => {
      const room = rooms.exec(to)?.[1]
      return room !== undefined && !from.startsWith(room) && to !== `${room}index.ts`
    })
    expect(show(closed)).toEqual([])
  })

  it('each vendor package has one home', () => {
    const homes = (name: string) =>
      Object.entries(HOMES).find(([key]) => name === key || name.startsWith(`${key}/`))?.[1]
    const isAt = (home: string | RegExp, file: string) =>
      typeof home === 'string' ? file.startsWith(home) : home.test(file)
    expect(show(vendors.filter(({ from, to }) => !homes(to)?.some(home => isAt(home, from))))).toEqual([])
  })

  it('keyman status, which prompts run again and again, loads no vendor package: zod takes as long as all the rest', () => {
    const loaded = ['cli/main.ts', 'cli/commands/status.ts'].flatMap(file => reachedFrom(file, edge => edge.atOnce))
    expect(loaded.map(({ to }) => to)).toContain('cli/session/session-key.ts')
    expect(show(loaded.filter(({ to }) => vendors.some(edge => edge.to === to)))).toEqual([])
  })

  it('the pages load no schemas, which would weigh more than all the rest', () => {
    const loaded = reachedFrom('web/main.tsx', edge => !edge.typeOnly).map(({ to }) => to)
    expect(loaded).toContain('shared/api/call.ts')
    expect(loaded).not.toContain('zod')
  })

  it('a file that calls itself pure imports nothing that reaches a disk, a network or a process', () => {
    const isPure = (file: string) => {
      const [comment = ''] = /\/\*[\s\S]*?\*\/|\/\/.*/.exec(texts.get(file) ?? '') ?? []
      return /\bPure\b/.test(comment)
    }
    const pure = files.filter(isPure)
    expect(pure.length).toBeGreaterThan(0)
    const impure = ({ to }: Import) =>
      isBuiltin(to) ? !PURE_BUILTINS.includes(to) : vendors.some(edge => edge.to === to && to !== 'zod')
    expect(show(imports.filter(edge => pure.includes(edge.from) && !edge.typeOnly && impure(edge)))).toEqual([])
  })
})

function reachedFrom(file: string, follows = (edge: Import) => !edge.typeOnly, seen = new Set<string>()): Import[] {
  if (seen.has(file)) return []
  seen.add(file)
  const direct = imports.filter(edge => edge.from === file && follows(edge))
  return [...direct, ...direct.flatMap(({ to }) => (texts.has(to) ? reachedFrom(to, follows, seen) : []))]
}

function isUsedByApi(path: string): boolean {
  return files
    .filter(file => file.startsWith('shared/api/'))
    .some(file => reachedFrom(file).some(({ to }) => to === path))
}
