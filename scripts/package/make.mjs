/** Everything that a release consists of, in memory. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundle } from '../build.mjs'
import { NODE_PACKAGES } from '../find-node.mjs'
import { licenceTexts, shippedComponents } from './components.mjs'
import { below, contents, pkcs11Binding } from './contents.mjs'
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
    // The server's binding to PKCS#11 modules is compiled by set-up, for this machine. A server on Linux without it would be
    // half a server; on macOS, where servers are for trying, it is left out wherever the tarball is made.
    const binding = isDebian(platform) && platform === OWN ? pkcs11Binding(root) : undefined
    if (isDebian(platform) && binding === undefined) {
      const why = platform === OWN ? 'no C++ compiler was here' : 'is compiled on such a machine only'
      say(`nothing for ${platform}: the server's PKCS#11 binding ${platform === OWN ? 'is missing, since ' : ''}${why}`)
      continue
    }
    Object.assign(made, await forPlatform({ root, version, time, bundled, runtime, binding }))
  }
  if (Object.keys(made).length === 0) throw new Error('there is nothing that can be packaged here')
  const container = readFileSync(join(root, 'packaging', 'Containerfile'), 'utf8').replaceAll('@VERSION@', version)
  return { ...made, ...(OWN.startsWith('linux') ? { Containerfile: container } : {}) }
}

async function forPlatform({ root, version, time, bundled, runtime, binding }) {
  const { platform } = runtime
  const pkcs11 = binding !== undefined
  const { programs, inputs, folder } = bundled
  const inside = contents({ root, bundle: folder, programs, node: runtime.file, pkcs11 })
  const components = shippedComponents(root, inputs, pkcs11)
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
