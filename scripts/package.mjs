/**
 * `npm run package`: Debian packages, tarballs, SBOMs, a Containerfile and SHA256SUMS in dist/packages/. Reads nothing from the
 * network; the same commit gives the same bytes. What is made for which machine: docs/install.md, "Packages".
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import './umask.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const say = line => process.stderr.write(`keyman: ${line}\n`)

const USAGE = `usage: npm run package [-- OPTIONS]
  --out FOLDER       where to (dist/packages); must be empty, new, or filled by this
  --nodes FOLDER     tarballs by npm pack of the Node packages that package-lock.json names: makes what can be made
                     for those platforms too
  --version VERSION  instead of that in package.json
  --sign-key FILE    signs SHA256SUMS by SSHSIG: a private key, or the public half of one in an ssh-agent
Without git, SOURCE_DATE_EPOCH says the time that files get.`

try {
  const { setUp } = await import('./setup.mjs')
  const node = await setUp()
  // On the pinned Node, whose zlib packs: another one packs as well, but not to the same bytes.
  const again = process.env.KEYMAN_PACKAGING === undefined
  if (again) {
    const env = { ...process.env, KEYMAN_PACKAGING: '1' }
    process.exitCode = spawnSync(node, process.argv.slice(1), { stdio: 'inherit', env }).status ?? 1
  } else await main()
} catch (error) {
  say(`error: ${error.message}`)
  process.exitCode = 1
}

async function main() {
  const { values } = parseArgs({
    options: {
      out: { type: 'string' },
      nodes: { type: 'string' },
      version: { type: 'string' },
      'sign-key': { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  const out = resolve(values.out ?? join(root, 'dist', 'packages'))
  const version = values.version ?? JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
  // What dpkg takes as an upstream version, and a file's name bears.
  if (!/^[0-9][0-9A-Za-z.+~]{0,62}$/.test(version))
    throw new Error(`--version ${version} is no version such as 1.2.0 or 1.2.0~rc1`)
  if (existsSync(out) && readdirSync(out).length > 0 && !existsSync(join(out, 'SHA256SUMS')))
    throw new Error(`${out} holds something else: name an empty folder by --out`)
  const scratch = mkdtempSync(join(tmpdir(), 'keyman-package-'))
  try {
    const { makePackages } = await import('./package/make.mjs')
    const made = await makePackages({ root, version, time: sourceTime(), nodes: values.nodes, scratch, say })
    const { writeRelease } = await import('./package/release.mjs')
    rmSync(out, { recursive: true, force: true })
    mkdirSync(out, { recursive: true })
    writeRelease({ out, made, signKey: values['sign-key'], say })
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Seconds: of the commit, so that whoever packages it later gets the same (reproducible-builds.org, SOURCE_DATE_EPOCH). */
function sourceTime() {
  const given = process.env.SOURCE_DATE_EPOCH
  if (given !== undefined) {
    if (!/^[0-9]{1,10}$/.test(given)) throw new Error(`SOURCE_DATE_EPOCH=${given} is no number of seconds`)
    return Number(given)
  }
  const { stdout, status } = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error('git does not say when this was committed: set SOURCE_DATE_EPOCH')
  return Number(stdout.trim())
}
