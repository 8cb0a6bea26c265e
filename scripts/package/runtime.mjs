/** The Node of each platform: that of this machine lies in node_modules, others in tarballs that somebody fetched by `npm pack`. */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { NODE_PACKAGES } from '../find-node.mjs'

/**
 * @typedef {{ platform: string, package: string, version: string, file: string, folder: string, sha256: string }} Runtime
 * `file` is Node's program, `folder` its package with the licence
 */

/**
 * The lockfile pins each package by SHA-512: npm has checked the installed one, a tarball is checked here.
 * @param {{ root: string, platform: string, nodes?: string, scratch: string }} where `nodes`: the folder of tarballs
 * @returns {Runtime | undefined} nothing where this platform's Node is not at hand
 */
export function findRuntime({ root, platform, nodes, scratch }) {
  const name = NODE_PACKAGES[platform]
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const locked = name === undefined ? undefined : packages[`node_modules/${name}`]
  if (locked === undefined) return undefined
  const installed = join(root, 'node_modules', name)
  const folder = existsSync(join(installed, 'bin', 'node')) ? installed : unpacked({ name, locked, nodes, scratch })
  if (folder === undefined) return undefined
  const file = join(folder, 'bin', 'node')
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex')
  return { platform, package: name, version: locked.version, file, folder, sha256 }
}

function unpacked({ name, locked, nodes, scratch }) {
  const tarball = nodes === undefined ? undefined : join(nodes, `${name}-${locked.version}.tgz`)
  if (tarball === undefined || !existsSync(tarball)) return undefined
  const bytes = readFileSync(tarball)
  const digest = `sha512-${createHash('sha512').update(bytes).digest('base64')}`
  if (digest !== locked.integrity)
    throw new Error(`${tarball} is not what package-lock.json pins: ${digest}, not ${locked.integrity}`)
  const folder = join(scratch, name)
  mkdirSync(join(folder, 'bin'), { recursive: true })
  for (const path of ['bin/node', 'LICENSE']) {
    const { stdout, status, stderr } = spawnSync('tar', ['-xzOf', tarball, `package/${path}`], { maxBuffer: 2 ** 29 })
    if (status !== 0) throw new Error(`${tarball} holds no ${path}: ${stderr}`)
    writeFileSync(join(folder, path), stdout)
  }
  return folder
}
