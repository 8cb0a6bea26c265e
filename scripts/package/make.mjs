/** Everything that a release consists of, in memory. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundle } from '../build.mjs'
import { compilePkcs11 } from '../build-pkcs11.mjs'
import { NODE_PACKAGES } from '../find-node.mjs'
import { licenceTexts, shippedComponents } from './components.mjs'
import { below, contents } from './contents.mjs'
import { debianPackages, isDebian } from './debian.mjs'
import { findRuntime } from './runtime.mjs'
import { sbom } from './sbom.mjs'
import { compress, tar } from './tar.mjs'

const OWN = `${process.platform}-${process.arch}`

/**
 * @param {{ root: string, version: string, time: number, nodes?: string, scratch: string, say: (line: string) => void }} options
 * @returns {Promise<Record<string, Buffer | string>>} by the names of the files
 */
export async function makePackages({ root, version, time, nodes, scratch, say }) {
  const bundled = { ...(await bundle(join(scratch, 'bundle'), say, { version })), folder: join(scratch, 'bundle') }
  const made = {}
  for (const platform of Object.keys(NODE_PACKAGES)) {
    const runtime = findRuntime({ root, platform, nodes, scratch })
    if (runtime === undefined) {
      say(`nothing for ${platform}: its Node is not here (npm pack ${NODE_PACKAGES[platform]}, then --nodes)`)
      continue
    }
    const binding = isDebian(platform) ? bindingFor(root, platform, scratch, say) : undefined
    // On Linux a server without PKCS#11 would be half a server. On macOS, where servers are for trying, it is left out
    // wherever the tarball is made, so that a name stands for one content.
    if (isDebian(platform) && binding === undefined) continue
    Object.assign(made, await forPlatform({ root, version, time, bundled, runtime, binding }))
  }
  if (Object.keys(made).length === 0) throw new Error('there is nothing that can be packaged here')
  const container = readFileSync(join(root, 'packaging', 'Containerfile'), 'utf8').replaceAll('@VERSION@', version)
  return { ...made, ...(OWN.startsWith('linux') ? { Containerfile: container } : {}) }
}

/** By name of Debian's cross compilers, which are there beside the machine's own under that name too. */
const COMPILERS = { 'linux-x64': 'x86_64-linux-gnu-g++', 'linux-arm64': 'aarch64-linux-gnu-g++' }

/** The server's binding to PKCS#11 modules, compiled anew, so that it comes from this checkout and nowhere else. */
function bindingFor(root, platform, scratch, say) {
  const compiler = platform === OWN ? process.env.CXX || 'g++' : COMPILERS[platform]
  const to = join(scratch, `pkcs11-${platform}.node`)
  const { failed } = compilePkcs11(root, { compiler, to })
  if (failed === undefined) return to
  say(`nothing for ${platform}: the server's PKCS#11 binding can't be compiled by ${compiler}: ${failed}`)
  return undefined
}

async function forPlatform({ root, version, time, bundled, runtime, binding }) {
  const { platform } = runtime
  const { programs, inputs, folder } = bundled
  const inside = contents({ root, bundle: folder, programs, node: runtime.file, binding })
  const components = shippedComponents(root, inputs, binding !== undefined)
  const bom = sbom({ version, platform, time, components, runtime })
  const licences = licenceTexts(components)
  const name = `keyman-${version}-${platform}`
  const entries = [
    ...Object.values(inside).flat(),
    { path: 'RELEASE', text: `${version} ${platform}\n` },
    { path: 'install.sh', from: join(root, 'packaging', 'install.sh'), mode: 0o755 },
    ...['server.toml', 'systemd/keyman-agent.service', 'systemd/keyman-server.service'].map(path => ({
      path: `packaging/${path}`,
      from: join(root, 'packaging', path),
    })),
    { path: 'sbom.cdx.json', text: bom },
    { path: 'THIRD-PARTY-LICENSES', text: licences },
    { path: 'NODE-LICENSE', from: join(runtime.folder, 'LICENSE') },
  ]
  const [packages, tarball] = await Promise.all([
    isDebian(platform)
      ? debianPackages({ root, version, mtime: time, contents: inside, runtime, binding, licences, bom })
      : {},
    compress(tar(below(name, entries), time)),
  ])
  return { ...packages, [`${name}.tar.gz`]: tarball, [`${name}.cdx.json`]: bom }
}
