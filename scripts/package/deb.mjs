/** A Debian package, as deb(5) describes it: an ar(5) archive of its format's version, what dpkg has to know, and the files. */
import { Buffer } from 'node:buffer'
import { statSync } from 'node:fs'
import { compress, tar } from './tar.mjs'

/**
 * @param {{
 *   fields: Record<string, string>, entries: readonly import('./tar.mjs').Entry[],
 *   scripts: Record<string, string>, conffiles: readonly string[], mtime: number,
 * }} what `fields` of the control file but for Installed-Size; `scripts` by name, as text; `conffiles` as absolute paths
 * @returns {Promise<Buffer>}
 */
export async function debianPackage({ fields, entries, scripts, conffiles, mtime }) {
  const kib = entries.reduce((total, entry) => total + Math.ceil(sizeOf(entry) / 1024), 0)
  const control = Object.entries({ ...fields, 'Installed-Size': String(kib) }).map(
    ([name, value]) => `${name}: ${value}\n`,
  )
  const members = [
    { path: 'control', text: control.join('') },
    ...(conffiles.length > 0 ? [{ path: 'conffiles', text: conffiles.map(path => `${path}\n`).join('') }] : []),
    ...Object.entries(scripts).map(([path, text]) => ({ path, text, mode: 0o755 })),
  ]
  const parts = {
    'debian-binary': Buffer.from('2.0\n'),
    'control.tar.gz': await compress(tar(members, mtime)),
    'data.tar.gz': await compress(tar(entries, mtime)),
  }
  return Buffer.concat([Buffer.from('!<arch>\n'), ...Object.entries(parts).flatMap(part => archived(part, mtime))])
}

function archived([name, bytes], mtime) {
  const size = String(bytes.length)
  const header = `${name.padEnd(16)}${String(mtime).padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${size.padEnd(10)}\`\n`
  return [Buffer.from(header), bytes, Buffer.alloc(bytes.length % 2, '\n')]
}

const sizeOf = ({ from, text }) => (from === undefined ? Buffer.byteLength(text ?? '') : statSync(from).size)
