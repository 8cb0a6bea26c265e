/**
 * What lies where in a package. It is laid out as a clone is (`bin/`, `dist/`, `node_modules/`, `docs/`), so the programs find
 * beside themselves what they find there.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * @typedef {import('./tar.mjs').Entry} Entry
 * @typedef {{ runtime: Entry[], cli: Entry[], agent: Entry[], server: Entry[] }} Contents paths are relative to the folder
 *   that KeyMan is installed into
 */

/** Read by PGlite from beside itself. The rest of its package (extensions, maps, CommonJS, types) nothing asks for. */
const PGLITE = /^(package\.json|LICENSE|dist\/[^/]+\.(js|wasm|data)|dist\/fs\/(base|nodefs)\.js)$/
const PKCS11 = ['package.json', 'LICENSE', 'index.js']

/** What the bundles leave in `node_modules` and load when they run. */
export const LOADED = { pglite: '@electric-sql/pglite', pkcs11: 'pkcs11js' }
const PKCS11_BINDING = `node_modules/${LOADED.pkcs11}/build/Release/pkcs11.node`

/**
 * @param {{ root: string, bundle: string, programs: Record<string, string[]>, node: string, binding?: string }} what
 *   `bundle`: the folder that was bundled into; `node`: the Node for the platform; `binding`: to PKCS#11 modules,
 *   compiled for it
 * @returns {Contents}
 */
export function contents({ root, bundle, programs, node, binding }) {
  const launcher = name => ({ path: `bin/${name}`, from: join(root, 'packaging', 'launcher'), mode: 0o755 })
  const bundled = paths => paths.map(path => ({ path: `dist/${path}`, from: join(bundle, path) }))
  const { keyman, 'keyman-agent': agent, 'keyman-agent-look': look, ...server } = programs
  return {
    runtime: [
      { path: 'dist/node', from: node, mode: 0o755 },
      { path: 'LICENSE', from: join(root, 'LICENSE') },
      ...tree(join(root, 'docs'), /\.md$/).map(path => ({ path: `docs/${path}`, from: join(root, 'docs', path) })),
    ],
    cli: [launcher('keyman'), ...bundled(keyman)],
    agent: [launcher('keyman-agent'), ...bundled(agent), ...bundled(look)],
    server: [
      launcher('keyman-server'),
      ...bundled(Object.values(server).flat()),
      ...bundled(tree(join(bundle, 'migrations'), /\.sql$/).map(path => `migrations/${path}`)),
      ...modules(root, LOADED.pglite, tree(join(root, 'node_modules', LOADED.pglite), PGLITE)),
      ...(binding === undefined
        ? []
        : [...modules(root, LOADED.pkcs11, PKCS11), { path: PKCS11_BINDING, from: binding }]),
    ],
  }
}

/** Entries in another folder. */
export const below = (folder, entries) => entries.map(entry => ({ ...entry, path: `${folder}/${entry.path}` }))

const modules = (root, name, paths) =>
  paths.map(path => ({ path: `node_modules/${name}/${path}`, from: join(root, 'node_modules', name, path) }))

/** Files below a folder whose path in it fits, in an order of their own. */
function tree(folder, fits) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter(path => fits.test(path))
    .sort()
}
