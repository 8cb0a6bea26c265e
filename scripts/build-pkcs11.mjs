// Makes the native part of pkcs11js where it is missing: the npm package brings no prebuilt binary, and its install
// script (node-gyp) would fetch Node's headers. One compiler call over its sources and the headers of the package
// `node-api-headers` gives the same binding; it uses Node-API only, so one built under Node 20 loads in 24 and 26.
// Runs under any Node from 20 on and needs no package but these two. Optional: without it only PKCS#11 is missing.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import './umask.mjs'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const INSTALL = 'install a C++ compiler (Debian, Ubuntu: apt-get install g++) and run: node scripts/build-pkcs11.mjs'

/**
 * Builds node_modules/pkcs11js/build/Release/pkcs11.node unless it is there and loads. Never throws: PKCS#11 is optional.
 * @param {string} [root] the project's folder
 * @returns {{ built: boolean, message: string }} `built`: the binding is there now and loads; `message`: one line
 */
export function buildPkcs11(root = ROOT) {
  const source = join(root, 'node_modules', 'pkcs11js')
  const headers = join(root, 'node_modules', 'node-api-headers', 'include')
  if (!existsSync(join(source, 'src', 'main.cpp'))) {
    return {
      built: false,
      message: 'PKCS#11: the package pkcs11js is not installed; the software keystore works without',
    }
  }
  const binding = join(source, 'build', 'Release', 'pkcs11.node')
  if (loads(binding)) return { built: true, message: 'PKCS#11: the binding is built' }
  if (!existsSync(headers)) {
    return { built: false, message: 'PKCS#11: not built, the package node-api-headers is not installed (npm ci)' }
  }

  // Compiled beside its place and renamed: a program that starts meanwhile never meets half a file.
  const temporary = `${binding}.${process.pid}`
  const compiler = process.env.CXX || 'g++'
  const { failed, missing } = compilePkcs11(root, { compiler, to: temporary })
  if (failed !== undefined) {
    rmSync(temporary, { force: true })
    if (missing) return { built: false, message: `PKCS#11: not built, ${compiler} was not found; ${INSTALL}` }
    return { built: false, message: `PKCS#11: not built, ${compiler} failed: ${failed}` }
  }
  renameSync(temporary, binding)
  if (!loads(binding)) return { built: false, message: `PKCS#11: built, but ${binding} does not load` }
  return { built: true, message: 'PKCS#11: the binding has been built' }
}

/**
 * One call of a compiler, which may be one for another processor.
 * @param {string} root
 * @param {{ compiler: string, to: string }} how
 * @returns {{ failed?: string, missing?: boolean }} `failed`: why; `missing`: because there is no such compiler
 */
export function compilePkcs11(root, { compiler, to }) {
  const source = join(root, 'node_modules', 'pkcs11js')
  const headers = join(root, 'node_modules', 'node-api-headers', 'include')
  mkdirSync(dirname(to), { recursive: true })
  const platform = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-ldl']
  const sources = ['dl.cpp', 'common.cpp', 'main.cpp'].map(name => join(source, 'src', name))
  const defines = ['-DNAPI_DISABLE_CPP_EXCEPTIONS', '-DNODE_GYP_MODULE_NAME=pkcs11']
  const includes = [`-I${headers}`, `-I${join(source, 'includes')}`]
  const flags = ['-O2', '-fPIC', '-std=c++17', '-w', ...defines, ...includes]
  const result = spawnSync(compiler, [...flags, ...sources, ...platform, '-o', to], { encoding: 'utf8' })
  if (result.status === 0) return {}
  const lines = (result.stderr || String(result.error)).split('\n')
  const failed = (lines.find(line => /error/i.test(line)) ?? 'no reason given').trim()
  return { failed, missing: result.error !== undefined && 'code' in result.error && result.error.code === 'ENOENT' }
}

/** In a process of its own, so that a binding which is replaced afterwards has not been loaded here. */
function loads(binding) {
  if (!existsSync(binding)) return false
  return spawnSync(process.execPath, ['-e', `require(${JSON.stringify(binding)})`], { stdio: 'ignore' }).status === 0
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(buildPkcs11().message)
}
