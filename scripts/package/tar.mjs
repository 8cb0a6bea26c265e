/**
 * Archives whose bytes depend on what is in them alone: owner root, the modes and the order that we say, one time for all.
 * Written here because tar differs between Linux and macOS, and compressed by the pinned Node's own zlib for the same reason.
 */
import { Buffer } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'

/**
 * @typedef {{ path: string, mode?: number, from?: string, text?: string, link?: string, folder?: true }} Entry
 * `path` without a slash in front; `from` names a file to read, `text` is the content itself, `link` where a symbolic link goes.
 */

const BLOCK = 512
const NAME = 100
const PREFIX = 155

/**
 * @param {readonly Entry[]} entries folders above them need not be named
 * @param {number} mtime seconds since 1970
 * @returns {Buffer} POSIX.1-1988 ustar
 */
export function tar(entries, mtime) {
  const whole = new Map()
  for (const entry of entries) {
    const parts = entry.path.split('/')
    for (let end = 1; end < parts.length; end++) {
      const path = parts.slice(0, end).join('/')
      if (!whole.has(path)) whole.set(path, { path, folder: true })
    }
    if (whole.has(entry.path) && !entry.folder) throw new Error(`${entry.path} would be packed twice`)
    whole.set(entry.path, entry)
  }
  const sorted = [...whole.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
  return Buffer.concat([...sorted.flatMap(entry => member(entry, mtime)), Buffer.alloc(2 * BLOCK)])
}

/** The bytes as gzip has them, without a time and without the name of the system that made them. */
export async function compress(bytes) {
  const packed = await promisify(gzip)(bytes, { level: 6 })
  packed[9] = 255
  return packed
}

function member(entry, mtime) {
  const content = entry.from === undefined ? Buffer.from(entry.text ?? '') : readFileSync(entry.from)
  const type = entry.folder ? '5' : entry.link === undefined ? '0' : '2'
  const mode = entry.folder ? (entry.mode ?? 0o755) : entry.link === undefined ? (entry.mode ?? 0o644) : 0o777
  const { name, prefix } = split(entry.folder ? `./${entry.path}/` : `./${entry.path}`)
  const header = Buffer.alloc(BLOCK)
  header.write(name, 0)
  header.write(octal(mode, 7), 100)
  header.write(octal(0, 7), 108)
  header.write(octal(0, 7), 116)
  header.write(octal(content.length, 11), 124)
  header.write(octal(mtime, 11), 136)
  header.write(' '.repeat(8), 148)
  header.write(type, 156)
  if (Buffer.byteLength(entry.link ?? '') > NAME) throw new Error(`${entry.link} is too long for a link`)
  header.write(entry.link ?? '', 157)
  header.write('ustar\x0000', 257)
  header.write('root', 265)
  header.write('root', 297)
  header.write(prefix, 345)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${octal(sum, 6)}\0 `, 148)
  const padding = (BLOCK - (content.length % BLOCK)) % BLOCK
  return [header, content, Buffer.alloc(padding)]
}

const octal = (number, digits) => number.toString(8).padStart(digits, '0')

/** A path of more than 100 bytes is cut at a slash. */
function split(path) {
  if (Buffer.byteLength(path) <= NAME) return { name: path, prefix: '' }
  for (let at = path.indexOf('/'); at !== -1 && at < PREFIX; at = path.indexOf('/', at + 1)) {
    const name = path.slice(at + 1)
    if (name !== '' && Buffer.byteLength(name) <= NAME) return { name, prefix: path.slice(0, at) }
  }
  throw new Error(`${path} is too long for an archive`)
}
