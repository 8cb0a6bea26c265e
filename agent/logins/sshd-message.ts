import type { hostStream } from '#shared/api/index.ts'
import { ipAddressText, isMappedV4, parseIpAddress } from '#shared/ip-address.ts'
import { isKeyId, isLogin, type Login } from '#shared/names.ts'

/** Pure: what sshd says in its log of connections that it let in, and of their ends (OpenSSH's auth.c and packet.c). */

/** One connection at a time has this pair, as long as it is open. `address`: its one text, without a zone. */
export type Peer = { readonly address: string; readonly port: number }

/** By what sshd let somebody in. Of a key ID that is none of ours nothing is told. */
type LetInBy = hostStream.LoginOpened['by']

export type SshdMessage =
  | { readonly kind: 'accepted'; readonly login: Login; readonly peer: Peer; readonly by: LetInBy }
  | { readonly kind: 'closed'; readonly peer: Peer }

const ACCEPTED = /^Accepted (\S+) for (\S+) from (\S+) port ([0-9]+) ssh2(?:: (.*))?$/
const FINGERPRINT = 'SHA256:[A-Za-z0-9+/]{43}'
const KEY = new RegExp(`^[A-Z0-9-]+ (${FINGERPRINT})$`)
// A key ID of somebody else's may hold whatever it likes: what follows it is read from the end.
const CERTIFICATE = new RegExp(
  `^[A-Z0-9-]+-CERT (${FINGERPRINT}) ID (.*) \\(serial ([0-9]{1,20})\\) CA [A-Z0-9-]+ (${FINGERPRINT})$`,
)
const CLOSED =
  /^(?:Disconnected from|Connection closed by|Connection reset by|Timeout, client not responding from) (?:user \S+ )?(\S+) port ([0-9]+)$/

/**
 * One message, without the time and program that a log puts before it. `undefined` for all else: what was refused before anybody was let
 * in, above all, whose names strangers choose.
 */
export function readSshdMessage(message: string): SshdMessage | undefined {
  const text = message.trimEnd()
  if (text.length > 2000) return undefined
  const [, how = '', login = '', from = '', port = '', what] = ACCEPTED.exec(text) ?? []
  if (how !== '') {
    const peer = peerOf(from, port)
    return peer && isLogin(login) ? { kind: 'accepted', login, peer, by: letInBy(how, what) } : undefined
  }
  const [, by = '', byPort = ''] = CLOSED.exec(text) ?? []
  const peer = peerOf(by, byPort)
  return peer && { kind: 'closed', peer }
}

function letInBy(how: string, what = ''): LetInBy {
  if (how === 'publickey') {
    const [, key, keyId = '', serial, authority] = CERTIFICATE.exec(what) ?? []
    if (key && serial && authority)
      return { method: 'certificate', key, ...(isKeyId(keyId) ? { keyId } : {}), serial, authority }
    const [, plain] = KEY.exec(what) ?? []
    return plain ? { method: 'publickey', key: plain } : { method: 'other' }
  }
  if (how === 'password' || how === 'hostbased') return { method: how }
  if (how.startsWith('keyboard-interactive')) return { method: 'keyboard-interactive' }
  return { method: how.startsWith('gssapi') ? 'gssapi' : 'other' }
}

function peerOf(from: string, digits: string): Peer | undefined {
  const address = addressText(from.split('%')[0] ?? '')
  const port = Number(digits)
  return address !== undefined && port >= 1 && port <= 65_535 ? { address, port } : undefined
}

/** An IPv4 address that a socket of IPv6 has is what it is: sshd writes it so. */
function addressText(text: string): string | undefined {
  const bytes = parseIpAddress(text)
  return bytes && ipAddressText(isMappedV4(bytes) ? bytes.subarray(12) : bytes)
}

export const peerKey = ({ address, port }: Peer): string => `${address} ${port}`
