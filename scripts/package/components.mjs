/** Whose work is in the packages besides our own: for the SBOM and for the licences that have to come along. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LOADED } from './contents.mjs'

/** @typedef {{ name: string, version: string, licence: string, integrity: string, folder: string }} Component */

/**
 * @param {string} root
 * @param {readonly string[]} inputs paths below `node_modules/` that went into the bundles
 * @param {boolean} pkcs11
 * @returns {Component[]} each package of which something is shipped, in the order of their names
 */
export function shippedComponents(root, inputs, pkcs11) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const loaded = [LOADED.pglite, ...(pkcs11 ? [LOADED.pkcs11] : [])].map(name => `node_modules/${name}`)
  const keys = new Set([...loaded, ...inputs.map(path => keyOf(path, packages))])
  return [...keys].sort().map(key => {
    const { version, license, integrity } = packages[key]
    const [name] = key.split('node_modules/').slice(-1)
    return { name, version, licence: license, integrity, folder: join(root, key) }
  })
}

/** The package that a file belongs to: of those in the lockfile the innermost. */
function keyOf(path, packages) {
  const parts = path.split('/')
  for (let end = parts.length - 1; end > 1; end--) {
    const key = parts.slice(0, end).join('/')
    if (packages[key] !== undefined) return key
  }
  throw new Error(`${path} belongs to no package of package-lock.json`)
}

/**
 * One text with the licence of each component, as they ask for it.
 * @param {readonly Component[]} components
 */
export function licenceTexts(components) {
  const texts = components.map(({ name, version, licence, folder }) =>
    [`${name} ${version} (${licence})`, ...ownTexts(folder, licence)].join('\n\n'),
  )
  return `${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`
}

/** Files of that name, or what a README says under that heading; the text of the Apache licence is the same for everybody. */
function ownTexts(folder, licence) {
  const names = readdirSync(folder).sort()
  const read = name => readFileSync(join(folder, name), 'utf8').trim()
  const files = names.filter(name => /^(licen[cs]e|copying|notice)/i.test(name))
  if (files.length > 0) return files.map(read)
  const readme = names.find(name => /^readme/i.test(name))
  const [, text = ''] = /^#+ licen[cs]e[^\n]*\n([\s\S]*)/im.exec(readme === undefined ? '' : read(readme)) ?? []
  if (text.trim() === '' && licence === 'Apache-2.0')
    return [readFileSync(join(import.meta.dirname, '..', '..', 'LICENSE'), 'utf8').trim()]
  return [text.trim()]
}
