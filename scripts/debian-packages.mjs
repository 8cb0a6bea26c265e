/**
 * Takes single files out of Debian's and Ubuntu's packages without installing anything: `apt-get download`, which any user
 * may and which checks the archive's signature, and `dpkg -x`, which runs no maintainer script. Set-up brings so the one
 * library that Node wants and a small Debian has not; the demo host an sshd.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import './umask.mjs'

/** Packages that hold the libraries which Node and sshd are linked with and which may be missing; the first that apt knows. */
const LIBRARIES = {
  'libatomic.so.1': ['libatomic1'],
  'libaudit.so.1': ['libaudit1'],
  'libcap-ng.so.0': ['libcap-ng0'],
  'libgssapi_krb5.so.2': ['libgssapi-krb5-2'],
  'libnsl.so.2': ['libnsl2'],
  'libpam.so.0': ['libpam0g', 'libpam0t64'],
  'libselinux.so.1': ['libselinux1'],
  'libstdc++.so.6': ['libstdc++6'],
  'libsystemd.so.0': ['libsystemd0'],
  'libtirpc.so.3': ['libtirpc3', 'libtirpc3t64'],
  'libwrap.so.0': ['libwrap0'],
  'libwtmpdb.so.0': ['libwtmpdb0'],
}

/**
 * Unpacks what `program` needs into `target`, which appears whole or not at all and replaces what was there.
 * @param {string} target absolute
 * @param {{ packages: readonly string[], program: string }} what packages to unpack, and the program whose libraries are
 *   to be complete then: absolute, or relative to the packages' root
 * @param {(line: string) => void} say
 * @returns {Promise<void>} throws an Error with one line on what is missing
 */
export async function unpackPackages(target, { packages, program }, say) {
  const tools = ['apt-get', 'dpkg', 'dpkg-deb', 'ldd'].filter(name => !existsSync(join('/usr/bin', name)))
  if (tools.length > 0) throw new Error(`this machine has no ${tools.join(', ')}`)
  mkdirSync(dirname(target), { recursive: true })
  const work = mkdtempSync(join(dirname(target), `.${basename(target)}-`))
  try {
    const root = join(work, 'root')
    mkdirSync(root)
    const unpack = openApt(work, say)
    for (const name of packages) await unpack(name, root)
    const file = program.startsWith('/') ? program : join(root, program)
    for (let missing = await missingLibraries(file, root), before = []; missing.length > 0; ) {
      if (missing.some(library => before.includes(library))) throw new Error(`${file} needs ${missing.join(', ')}`)
      for (const library of missing) await unpackLibrary(library, root, unpack)
      before = missing
      missing = await missingLibraries(file, root)
    }
    rmSync(target, { recursive: true, force: true })
    renameSync(root, target)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/**
 * @param {string} root where packages were unpacked
 * @returns {string | undefined} the folders with libraries there, for `LD_LIBRARY_PATH`
 */
export function libraryPath(root) {
  const folders = ['lib', 'usr/lib']
    .map(path => join(root, path))
    .filter(path => existsSync(path))
    .flatMap(path => readdirSync(path).map(name => join(path, name)))
    .filter(path => /-linux-gnu[a-z]*$/.test(path))
  return folders.length === 0 ? undefined : folders.join(':')
}

/** With the machine's package lists; where those are empty or lead to nothing, with own ones below `work` (some 26 MB). */
function openApt(work, say) {
  // Not as apt's user `_apt`, who has no way into a folder of mode 0700.
  const common = ['-q', '-o', 'APT::Sandbox::User=', '-o', 'Acquire::Retries=1', '-o', 'Acquire::http::Timeout=20']
  const own = ['-o', `Dir::State::Lists=${work}/lists`, '-o', `Dir::Cache=${work}/cache`]
  let options = common
  const download = async name => {
    const into = mkdtempSync(join(work, 'package-'))
    await run('apt-get', [...options, 'download', name], into)
    const file = readdirSync(into).find(entry => entry.endsWith('.deb'))
    if (file === undefined) throw new Error(`apt-get download ${name} left no package`)
    return join(into, file)
  }
  return async (name, root) => {
    const file = await download(name).catch(async error => {
      if (options !== common) throw error
      say('fetching the package lists into a folder of our own: those of this machine do not lead to it')
      for (const folder of ['lists/partial', 'cache/archives/partial'])
        mkdirSync(join(work, folder), { recursive: true })
      options = [...common, ...own]
      await run('apt-get', [...options, 'update'], work)
      return download(name)
    })
    await run('dpkg', ['-x', file, root], work)
  }
}

async function unpackLibrary(library, root, unpack) {
  const failures = []
  for (const name of LIBRARIES[library] ?? []) {
    try {
      return await unpack(name, root)
    } catch (error) {
      failures.push(error.message)
    }
  }
  throw new Error(failures[0] ?? `the library ${library} is missing`)
}

/** What the loader does not find, with what has been unpacked so far. */
async function missingLibraries(file, root) {
  const text = await run('ldd', [file], root, { LD_LIBRARY_PATH: libraryPath(root) ?? '' })
  return [...new Set([...text.matchAll(/^\s*(\S+) => not found$/gm)].map(match => match[1]))]
}

/** Output of a program, in English, so that it can be read; throws an Error with its last line. */
function run(program, args, cwd, env = {}) {
  return new Promise((resolve, reject) => {
    const options = { cwd, env: { ...process.env, LC_ALL: 'C', ...env }, timeout: 180_000 }
    execFile(program, args, options, (error, stdout, stderr) => {
      if (!error) return resolve(stdout)
      const reason = stderr.trim().split('\n').at(-1) || error.message
      reject(new Error(`${program} ${args.at(-1)}: ${reason}`))
    })
  })
}
