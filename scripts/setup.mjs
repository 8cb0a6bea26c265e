/**
 * Everything between an empty clone and programs that start. Runs on Node 20 with nothing installed, so it imports only
 * Node's own modules and its neighbours, and those that need a package only once packages are there.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { argv } from 'node:process'
import { fileURLToPath } from 'node:url'
import { findNode } from './find-node.mjs'
import { withLock } from './lock.mjs'
import './umask.mjs'

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
    const node = process.env.KEYMAN_NODE || (await prepareNode(findNode(root)))
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
  const code = await run('npm', ['ci', '--no-progress', '--loglevel=error', '--no-update-notifier'])
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

/**
 * `dist/node` is what the launchers in `bin/` start: a link to the Node that `findNode` found, so starting costs no search.
 * Node 26 is linked with libatomic, which a small Debian has not: then it is a script that names a folder with it.
 */
async function prepareNode(node) {
  const link = join(root, 'dist', 'node')
  const libraries = join(root, 'dist', 'libraries')
  if (starts(link) && existsSync(libraries) === !starts(node)) return link
  mkdirSync(dirname(link), { recursive: true })
  const fresh = `${link}.${process.pid}`
  rmSync(fresh, { force: true })
  if (starts(node)) {
    rmSync(libraries, { recursive: true, force: true })
    symlinkSync(node.startsWith(`${root}/`) ? relative(dirname(link), node) : node, fresh)
  } else {
    say('Node wants a library that is not installed: fetching its package into dist/libraries')
    const { libraryPath, unpackPackages } = await import('./debian-packages.mjs')
    await unpackPackages(libraries, { packages: [], program: node }, say).catch(error => {
      throw new Error(`${node} does not start (Debian, Ubuntu: apt-get install libatomic1): ${error.message}`)
    })
    const path = `${libraryPath(libraries)}\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}`
    writeFileSync(fresh, `#!/bin/sh\nexport LD_LIBRARY_PATH="${path}"\nexec "${node}" "$@"\n`, { mode: 0o755 })
  }
  renameSync(fresh, link)
  if (!starts(link)) throw new Error(`${node} does not start: try ${link} --version`)
  return link
}

const starts = program => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0

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
