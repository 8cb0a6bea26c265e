/**
 * Bundles the programs and the pages into `dist/`. Sources run as they are in development; bundled, a program starts some
 * 40 ms sooner, because nothing is stripped and few files are read.
 */
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'
import './umask.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')
const stamp = join(dist, '.built')

const PROGRAMS = {
  keyman: 'cli/main.ts',
  'keyman-agent': 'agent/main.ts',
  'keyman-server': 'ca-server/main.ts',
  // No programs to start: what the agent's process runs that reads homes, and the server's threads that sign and verify.
  'keyman-agent-look': 'agent/sshd/look-process.ts',
  'keyman-server-sign-thread': 'ca-server/keystore/pkcs11/sign-thread.ts',
}

/** Left in `node_modules`: PGlite reads its WebAssembly from beside itself, PKCS#11 is native, pg-native is never there. */
const EXTERNAL = ['@electric-sql/pglite', 'pkcs11js', 'pg-native']

/** Packages in CommonJS ask for Node's modules by `require`, which an ES module has not. */
const REQUIRE = "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);"

/** Whether `dist/` was built from the sources as they are now. */
export function isBuilt() {
  const whole = Object.entries(PROGRAMS).every(
    ([name, entry]) => existsSync(join(dist, `${name}.mjs`)) || !existsSync(join(root, entry)),
  )
  return whole && existsSync(stamp) && readFileSync(stamp, 'utf8') === sourcesDigest()
}

/**
 * @param {(line: string) => void} say
 * @returns {Promise<void>} throws esbuild's error, with the file and line that it is about
 */
export async function build(say) {
  const digest = sourcesDigest()
  const started = performance.now()
  const fresh = join(dist, `.new-${process.pid}`)
  try {
    const { programs } = await bundle(fresh, say)
    moveIntoPlace(fresh)
    writeFileSync(stamp, digest)
    const made = Object.keys(programs).join(', ')
    say(`built ${made} into dist/ in ${((performance.now() - started) / 1000).toFixed(1)} s`)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}

/**
 * Programs, pages and migrations into an empty folder.
 * @param {string} folder
 * @param {(line: string) => void} say
 * @param {{ version?: string }} [options] `version`: what the programs say that they are, by itself that of package.json
 * @returns {Promise<{ programs: Record<string, string[]>, inputs: string[] }>} the files of each program, by their paths in
 *   `folder`; and whatever of `node_modules` went into them
 */
export async function bundle(folder, say, { version } = {}) {
  const esbuild = await import('esbuild')
  const ownVersion = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
  const common = {
    absWorkingDir: root,
    bundle: true,
    format: 'esm',
    logLevel: 'silent',
    legalComments: 'none',
    metafile: true,
    define: {
      'process.env.KEYMAN_VERSION': JSON.stringify(version ?? ownVersion),
      'process.env.NODE_ENV': '"production"',
    },
  }
  const programs = {}
  const inputs = new Set()
  const made = (name, { outputs, inputs: read }) => {
    programs[name] = Object.keys(outputs).map(path => relative(folder, join(root, path)))
    for (const path of Object.keys(read)) if (path.startsWith('node_modules/')) inputs.add(path)
  }
  for (const [name, entry] of Object.entries(PROGRAMS)) {
    if (!existsSync(join(root, entry))) {
      say(`${name} is not built: there is no ${entry}`)
      continue
    }
    const isCli = name === 'keyman'
    const { metafile } = await esbuild.build({
      ...common,
      entryPoints: { [name]: entry },
      outdir: folder,
      outExtension: { '.js': '.mjs' },
      platform: 'node',
      target: 'node24',
      external: EXTERNAL,
      banner: { js: REQUIRE },
      // The CLI starts all day long, so it loads only the files of one command. The others start once, and their
      // single files stay whole when somebody builds anew beneath them; their stack traces keep line numbers.
      splitting: isCli,
      minifyWhitespace: isCli,
      chunkNames: 'keyman-[name]-[hash]',
    })
    made(name, metafile)
  }
  if (existsSync(join(root, 'web', 'main.tsx'))) {
    made('pages', await buildPages(esbuild, common, join(folder, 'web')))
    programs.pages.push(join('web', 'index.html'))
  }
  cpSync(join(root, 'migrations'), join(folder, 'migrations'), { recursive: true })
  return { programs, inputs: [...inputs].sort() }
}

/** `index.html` with its script and style under names that hold their digests, so that a browser may keep them for ever. */
async function buildPages(esbuild, common, outdir) {
  const { metafile } = await esbuild.build({
    ...common,
    entryPoints: { main: 'web/main.tsx', style: 'web/style.css' },
    outdir: join(outdir, 'assets'),
    entryNames: '[name]-[hash]',
    platform: 'browser',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    minify: true,
    define: { ...common.define, __ROUTES__: JSON.stringify(await routeTable(esbuild)) },
  })
  const [script, style] = ['.js', '.css'].map(end => Object.keys(metafile.outputs).find(path => path.endsWith(end)))
  const page = readFileSync(join(root, 'web', 'index.html'), 'utf8')
    .replace('/main.js', `/assets/${basename(script)}`)
    .replace('/style.css', `/assets/${basename(style)}`)
  writeFileSync(join(outdir, 'index.html'), page)
  return metafile
}

/** Method and path of each route, from the contract itself: the pages need no schemas, which would weigh fifty times as much. */
async function routeTable(esbuild) {
  const { outputFiles } = await esbuild.build({
    absWorkingDir: root,
    entryPoints: ['shared/api/index.ts'],
    bundle: true,
    format: 'esm',
    platform: 'node',
    write: false,
  })
  const source = Buffer.from(outputFiles[0].contents).toString('base64')
  const { allRoutes } = await import(`data:text/javascript;base64,${source}`)
  return Object.fromEntries(
    allRoutes.filter(route => route.listeners.includes('pages')).map(({ id, method, path }) => [id, { method, path }]),
  )
}

/** What is split off comes before what loads it, so a program that starts meanwhile is the old one or the new one, whole. */
function moveIntoPlace(fresh) {
  const names = readdirSync(fresh).sort((a, b) => Number(isEntry(a)) - Number(isEntry(b)))
  for (const name of names) {
    const to = join(dist, name)
    if (statSync(join(fresh, name)).isDirectory()) rmSync(to, { recursive: true, force: true })
    renameSync(join(fresh, name), to)
  }
  for (const name of readdirSync(dist)) {
    if (name.endsWith('.mjs') && !names.includes(name)) rmSync(join(dist, name))
  }
}

const isEntry = name => Object.keys(PROGRAMS).includes(basename(name, '.mjs'))

/** SHA-256 over the paths and contents of all that goes into `dist/`. */
function sourcesDigest() {
  const hash = createHash('sha256')
  const add = path => {
    const bytes = readFileSync(join(root, path))
    hash.update(`${path}\0${bytes.length}\0`).update(bytes)
  }
  for (const file of ['package.json', 'package-lock.json', 'scripts/build.mjs']) add(file)
  for (const folder of ['shared', 'cli', 'agent', 'ca-server', 'web', 'migrations']) {
    const files = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    for (const file of files
      .filter(entry => entry.isFile() && !/\.test\.tsx?$/.test(entry.name))
      .map(entry => join(entry.parentPath ?? entry.path, entry.name).slice(root.length + 1))
      .sort())
      add(file)
  }
  return hash.digest('hex')
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(dist, { recursive: true })
  await build(line => process.stderr.write(`keyman: ${line}\n`)).catch(error => {
    process.stderr.write(`keyman: error: ${error.message}\n`)
    process.exitCode = 1
  })
}
