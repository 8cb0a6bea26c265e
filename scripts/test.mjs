/**
 * `npm test`: sets up, then type check, lint and tests; `npm test -- shared/ssh -t 'a name'` runs vitest alone with these
 * arguments. The last line is `N passed, N failed[, N skipped]`; a failed type check or lint counts as one failure.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { installForTests } from './install-for-tests.mjs'
import { REQUIREMENTS } from './requirements.mjs'
import { root, say, setUp } from './setup.mjs'
import { withoutTerminal } from './without-terminal.mjs'

const counts = { passed: 0, failed: 0, skipped: 0 }
const args = process.argv.slice(2)

try {
  const missing = installForTests(say)
  const node = await setUp({ forTests: true })
  const env = {
    ...process.env,
    // Programs that tests start by the name `node` are the Node that KeyMan runs on.
    PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}`,
    KEYMAN_TEST_MISSING: missing.join(','),
  }
  if (process.env.CI === 'true') {
    for (const name of missing) fail(`missing for the tests: ${name} (${REQUIREMENTS[name].packages.join(' ')})`)
  }
  if (args.length === 0) {
    if ((await withoutTerminal(node, [bin('typescript', 'tsc'), '--noEmit'], { cwd: root, env })) !== 0)
      fail('the type check failed')
    if ((await withoutTerminal(node, [bin('@biomejs/biome', 'biome'), 'check', '.'], { cwd: root, env })) !== 0)
      fail('the lint failed')
  }
  await runTests(node, env)
} catch (error) {
  fail(`error: ${error.message}`)
}
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''
process.exitCode = counts.failed > 0 ? 1 : 0
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed${skipped}\n`)

async function runTests(node, env) {
  const folder = mkdtempSync(join(inMemory() ?? tmpdir(), 'keyman-test-'))
  // Whoever stops the tests wants the memory back, too.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'results.json')
  try {
    const progress = join(root, 'scripts', 'progress-reporter.mjs')
    const reporters = ['--reporter=default', '--reporter=json', `--reporter=${progress}`, `--outputFile.json=${file}`]
    const code = await withoutTerminal(node, [bin('vitest', 'vitest'), 'run', ...reporters, ...args], {
      cwd: root,
      // What lasts as long as the tests; and a word that `dist/` is of these sources.
      env: { ...env, KEYMAN_TEST_FOLDER: folder },
    })
    if (existsSync(file)) count(JSON.parse(readFileSync(file, 'utf8')))
    // What belongs to no test: an unhandled rejection, no test found, vitest itself.
    if (code !== 0 && counts.failed === 0) fail(`vitest ended with exit code ${code}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Where Linux has a file system in memory with room for some databases; a container's own has often 64 MB, and is passed over. */
function inMemory() {
  const [folder, TMPFS_MAGIC, enough] = ['/dev/shm', 0x01021994, 2 ** 30]
  if (!existsSync(folder)) return undefined
  const { type, bavail, bsize } = statfsSync(folder)
  return type === TMPFS_MAGIC && bavail * bsize >= enough ? folder : undefined
}

function count({ testResults }) {
  const skipped = []
  for (const { name, status, assertionResults } of testResults) {
    const file = name.slice(root.length + 1)
    for (const test of assertionResults) {
      if (test.status === 'passed') counts.passed++
      else if (test.status === 'failed') counts.failed++
      else skipped.push(`${file}: ${test.fullName}`)
    }
    if (status === 'failed' && !assertionResults.some(test => test.status === 'failed'))
      fail(`${file} failed as a whole`)
  }
  counts.skipped = skipped.length
  for (const test of skipped) process.stdout.write(`skipped: ${test}\n`)
}

function fail(line) {
  counts.failed++
  process.stdout.write(`${line}\n`)
}

/** The script that a package names as its program: started by the pinned Node, whatever `node` is in PATH. */
function bin(name, program) {
  const folder = join(root, 'node_modules', name)
  const { bin: scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return join(folder, typeof scripts === 'string' ? scripts : scripts[program])
}
