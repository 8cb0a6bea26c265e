import { createHash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Account } from './accounts.ts'

/** Keys of `authorized_keys`, which let in beside all grants: how many, and their fingerprints; never what stands there. */
export type PlainKeys = {
  readonly file: string
  readonly count: number
  /** Of these, authorities: whoever has a certificate by one gets in. */
  readonly authorities: number
  readonly fingerprints: readonly string[]
}

const MOST_BYTES = 1024 * 1024
const KEY = /^((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+)\s+([A-Za-z0-9+/]+={0,2})(?:\s|$)/

/** Where sshd looks: `AuthorizedKeysFile` as `sshd -T` prints it. */
export function keyFiles(setting: string, account: Account): string[] {
  if (setting === 'none') return []
  return setting
    .split(' ')
    .filter(Boolean)
    .map(pattern => {
      const path = pattern.replace(/%[%huU]/g, token =>
        token === '%h' ? account.home : token === '%u' ? account.name : token === '%U' ? String(account.uid) : '%',
      )
      return path.startsWith('/') ? path : join(account.home, path)
    })
}

/** `undefined` where the file is not there. Throws where it cannot be read. */
export function readPlainKeys(file: string): PlainKeys | undefined {
  const text = readText(file)
  if (text === undefined) return undefined
  const keys = text
    .split('\n')
    .map(line => line.trim())
    .flatMap(line => keyOf(line) ?? [])
  return {
    file,
    count: keys.length,
    authorities: keys.filter(key => key.isAuthority).length,
    fingerprints: keys.map(key => key.fingerprint),
  }
}

/** The account's owner may put there what they like, at any moment: a pipe is not waited for, and no more is read than this. */
function readText(file: string): string | undefined {
  // Before it is opened, which some devices take for an order.
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return undefined
  const opened = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!fstatSync(opened).isFile()) return undefined
    const buffer = Buffer.alloc(MOST_BYTES + 1)
    let length = 0
    for (let read = -1; read !== 0; length += read)
      read = readSync(opened, buffer, length, buffer.length - length, null)
    if (length > MOST_BYTES) throw new Error(`it has more than ${MOST_BYTES} bytes`)
    return buffer.toString('latin1', 0, length)
  } finally {
    closeSync(opened)
  }
}

function keyOf(line: string): { readonly fingerprint: string; readonly isAuthority: boolean } | undefined {
  if (line === '' || line.startsWith('#')) return undefined
  const options = KEY.test(line) ? '' : optionsOf(line)
  const [, , base64] = KEY.exec(line.slice(options.length).trimStart()) ?? []
  if (base64 === undefined) return undefined
  const digest = createHash('sha256').update(Buffer.from(base64, 'base64')).digest('base64').replace(/=+$/, '')
  return { fingerprint: `SHA256:${digest}`, isAuthority: /(^|,)cert-authority(,|$)/i.test(options) }
}

/** What stands before the key: up to the first blank that is in no quotes. */
function optionsOf(line: string): string {
  let quoted = false
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '\\' && line[i + 1] === '"') i++
    else if (line[i] === '"') quoted = !quoted
    else if (!quoted && /\s/.test(line[i] ?? '')) return line.slice(0, i)
  }
  return line
}
