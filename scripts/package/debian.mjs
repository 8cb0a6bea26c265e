/**
 * The Debian packages: one for each program, because a host is not to carry a server nor a laptop an agent, and one for the
 * Node that they share, because it is thirty times as large as all the rest. Each wants the others in its own version.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { below } from './contents.mjs'
import { debianPackage } from './deb.mjs'

const ARCHITECTURES = { 'linux-x64': 'amd64', 'linux-arm64': 'arm64' }
const FOLDER = 'usr/lib/keyman'
const CONFIG = 'etc/keyman/server.toml'
/** Ours of before 1.0, which had the same files. Debian's has been 10 or newer for as long as there is one, and none of them. */
const FORMER_CLI = 'keyman (<< 1~)'

/** Whether there is a Debian package for a platform. */
export const isDebian = platform => platform in ARCHITECTURES

/**
 * @param {{
 *   root: string, version: string, mtime: number, contents: import('./contents.mjs').Contents,
 *   runtime: import('./runtime.mjs').Runtime, binding: string, licences: string, bom: string,
 * }} what
 * @returns {Promise<Record<string, Buffer>>} packages by the names of their files
 */
export async function debianPackages({ root, version, mtime, contents, runtime, binding, licences, bom }) {
  const architecture = ARCHITECTURES[runtime.platform]
  const made = {}
  for (const { name, takesPlaceOf, depends, description, entries, conffiles = [] } of [
    {
      name: 'keyman-runtime',
      depends: [glibcOf(runtime.file), 'libstdc++6 (>= 9)', 'libatomic1'],
      description: `what KeyMan's programs share: Node.js ${runtime.version} and the documentation`,
      entries: [
        ...below(FOLDER, contents.runtime),
        { path: `${FOLDER}/sbom.cdx.json`, text: bom },
        { path: 'usr/share/doc/keyman-runtime/THIRD-PARTY-LICENSES', text: licences },
        { path: 'usr/share/doc/keyman-runtime/NODE-LICENSE', from: join(runtime.folder, 'LICENSE') },
      ],
    },
    {
      // Not `keyman`: by that name Debian and Ubuntu have an input method, which apt would take for an upgrade of this.
      name: 'keyman-cli',
      takesPlaceOf: FORMER_CLI,
      depends: ['openssh-client'],
      description: 'SSH certificates instead of keys: the command line',
      entries: program('keyman', contents.cli),
    },
    {
      name: 'keyman-agent',
      depends: ['openssh-server', 'openssh-client'],
      description: "KeyMan's agent on each host: keeps sshd's access files",
      entries: [...program('keyman-agent', contents.agent), unit(root, 'keyman-agent')],
    },
    {
      name: 'keyman-server',
      depends: [glibcOf(binding), 'passwd'],
      description: "KeyMan's server: SSH certificate authority, its pages and its API",
      entries: [
        ...program('keyman-server', contents.server),
        unit(root, 'keyman-server'),
        { path: CONFIG, from: join(root, 'packaging', 'server.toml') },
      ],
      conffiles: [`/${CONFIG}`],
    },
  ]) {
    const shared = name === 'keyman-runtime' ? [] : [`keyman-runtime (= ${version})`]
    const fields = {
      Package: name,
      Version: version,
      Section: 'admin',
      Priority: 'optional',
      Architecture: architecture,
      Maintainer: 'KeyMan maintainers <maintainers@keyman.invalid>',
      Depends: [...shared, ...depends].join(', '),
      ...(takesPlaceOf === undefined ? {} : { Conflicts: takesPlaceOf, Replaces: takesPlaceOf }),
      Description: `${description}\n KeyMan is an SSH certificate authority: people sign in with a passkey, hosts keep who may log in,\n and what was signed stands in a log that can be checked.`,
    }
    const copyright = { path: `usr/share/doc/${name}/copyright`, text: COPYRIGHT }
    made[`${name}_${version}_${architecture}.deb`] = await debianPackage({
      fields,
      entries: [...entries, copyright],
      scripts: scriptsOf(root, name),
      conffiles,
      mtime,
    })
  }
  return made
}

const COPYRIGHT = `KeyMan is under the Apache License 2.0: /usr/lib/keyman/LICENSE
What else is in these packages, under which licences: /usr/share/doc/keyman-runtime/THIRD-PARTY-LICENSES and NODE-LICENSE
`

const program = (name, entries) => [
  ...below(FOLDER, entries),
  { path: `usr/bin/${name}`, link: `../lib/keyman/bin/${name}` },
]

const unit = (root, name) => ({
  path: `usr/lib/systemd/system/${name}.service`,
  from: join(root, 'packaging', 'systemd', `${name}.service`),
})

const HAVE_SCRIPTS = ['keyman-agent', 'keyman-server']

function scriptsOf(root, name) {
  if (!HAVE_SCRIPTS.includes(name)) return {}
  const read = step => readFileSync(join(root, 'packaging', 'debian', `${name}.${step}`), 'utf8')
  return Object.fromEntries(['postinst', 'prerm', 'postrm'].map(step => [step, read(step)]))
}

/** The oldest C library that a program or library was linked for, by the versions of the symbols that it asks for. */
function glibcOf(file) {
  const minors = [...readFileSync(file, 'latin1').matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor))
  return `libc6 (>= 2.${Math.max(...minors)})`
}
