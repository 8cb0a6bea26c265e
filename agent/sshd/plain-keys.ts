import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Account } from './accounts.ts'
import { type Homes, statIfThere } from './homes.ts'

/** Keys of `authorized_keys`, which let in beside all grants: how many, and their fingerprints; never what stands there. */
export type PlainKeys = {
  readonly file: string
  readonly count: number
  /** Of these, authorities: whoever has a certificate by one gets in. */
  readonly authorities: number
  readonly fingerprints: readonly string[]
}

const MOST_BYTES = 1024 * 1024
const AT_ONCE = 64 * 1024
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

/** `undefined` where the file is not there. Throws where it cannot be read, or does not answer. */
export async function readPlainKeys(file: string, homes: Homes): Promise<PlainKeys | undefined> {
  const text = await homes.ask(file, () => readText(file))
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
async function readText(file: string): Promise<string | undefined> {
  // Before it is opened, which some devices take for an order.
  if (!(await statIfThere(file))?.isFile()) return undefined
  const opened = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!(await opened.stat()).isFile()) return undefined
    const parts: Buffer[] = []
    for (let length = 0; ; ) {
      const { bytesRead, buffer } = await opened.read(Buffer.alloc(AT_ONCE), 0, AT_ONCE)
      if (bytesRead === 0) return Buffer.concat(parts).toString('latin1')
      length += bytesRead
      if (length > MOST_BYTES) throw new Error(`it has more than ${MOST_BYTES} bytes`)
      parts.push(buffer.subarray(0, bytesRead))
    }
  } finally {
    await opened.close()
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
