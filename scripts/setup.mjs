/**
 * Everything between an empty clone and programs that start. Runs on Node 20 with nothing installed, so it imports only
 * Node's own modules and its neighbours, and those that need a package only once packages are there.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'
import { findNode } from './find-node.mjs'
import { withLock } from './lock.mjs'

/** The project's folder. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** To stderr: a program's own output stays clean when its launcher had to set up first. */
export const say = line => process.stderr.write(`keyman: ${line}\n`)

/**
 * Installs, compiles and bundles what is missing or old, one line for each thing done, none if there is nothing to do.
 * @param {{ forTests?: boolean }} [options] `forTests`: also says why the optional PKCS#11 binding is not there
 * @returns {Promise<string>} the Node to run the programs with
 */
export async function setUp({ forTests = false } = {}) {
  return withLock(join(root, 'dist', '.setup.lock'), say, async () => {
    const installed = await installPackages()
    const node = findNode(root)
    if (!process.env.KEYMAN_NODE) pointAtNode(node)
    await buildNative(installed || forTests)
    const { build, isBuilt } = await import('./build.mjs')
    if (!isBuilt()) await build(say)
    return node
  })
}

/** @returns {Promise<boolean>} whether there was something to install */
async function installPackages() {
  if (arePackagesInstalled()) return false
  say(
    `installing the packages of package-lock.json${existsSync(join(root, 'node_modules')) ? ' (it has changed)' : ''}`,
  )
  const code = await run('npm', ['ci', '--no-progress', '--loglevel=error'])
  if (code !== 0 || !arePackagesInstalled()) throw new Error(`npm ci failed in ${root} (what it said stands above)`)
  return true
}

/**
 * npm leaves a list of what it has installed, its last act, in `node_modules/.package-lock.json` ("Hidden lockfiles" in
 * npm's package-lock.json page). Optional packages may be absent: they are those of other platforms.
 */
function arePackagesInstalled() {
  const wanted = readPackages(join(root, 'package-lock.json'))
  const present = readPackages(join(root, 'node_modules', '.package-lock.json'))
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    const found = present[path]
    if (path === '' || (found === undefined && optional)) return true
    return found?.version === version && existsSync(join(root, path, 'package.json'))
  })
}

function readPackages(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : {}
}

/** `dist/node` is what the launchers in `bin/` start: so one function decides, and starting costs no search. */
function pointAtNode(node) {
  const link = join(root, 'dist', 'node')
  const target = node.startsWith(`${root}/`) ? relative(dirname(link), node) : node
  try {
    if (readlinkSync(link) === target) return
  } catch {
    // Not there yet.
  }
  mkdirSync(dirname(link), { recursive: true })
  const fresh = `${link}.${process.pid}`
  rmSync(fresh, { force: true })
  symlinkSync(target, fresh)
  renameSync(fresh, link)
}

/** PKCS#11 is for those who have an HSM: without a compiler everything else works. */
async function buildNative(tellWhyNot) {
  if (existsSync(join(root, 'node_modules', 'pkcs11js', 'build', 'Release', 'pkcs11.node'))) return
  const { buildPkcs11 } = await import('./build-pkcs11.mjs')
  const { built, message } = buildPkcs11(root)
  if (built || tellWhyNot) say(message)
}

/**
 * Runs a program in the project's folder, its output shown on stderr.
 * @returns {Promise<number>} its exit code
 */
function run(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 2, 2] })
    child.once('error', error => reject(new Error(`${program} cannot be started: ${error.message}`)))
    child.once('exit', code => resolve(code ?? 1))
  })
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  await setUp().catch(error => {
    say(`error: ${error.message}`)
    process.exitCode = 1
  })
}
