import { isIP, isIPv4, isIPv6, type Server, type Socket } from 'node:net'
import { plainAddress } from './plain-address.ts'

/**
 * The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): a balancer that forwards bytes tells in front
 * of them whose connection it is. It is read from the peers that the configuration names and from nobody else, and these must send it:
 * who may choose, chooses an address.
 */

/** Version 1 is 107 bytes at most; version 2 says its length, and what balancers add to it (TLVs) is a few hundred. */
const MOST_HEADER = 1024
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

/** `more`: not whole yet. `wrong`: it is none. `address` is undefined where the balancer speaks for itself. */
export type ProxyHeader = 'more' | 'wrong' | { readonly length: number; readonly address: string | undefined }

/** Pure: what stands at the beginning of these bytes. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  const version2 = bytes.subarray(0, SIGNATURE.length)
  if (version2.equals(SIGNATURE.subarray(0, version2.length))) return parseVersion2(bytes)
  const begin = 'PROXY '
  if (!begin.startsWith(bytes.toString('latin1', 0, Math.min(bytes.length, begin.length)))) return 'wrong'
  return parseVersion1(bytes)
}

function parseVersion1(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, 107).indexOf('\r\n')
  if (end < 0) return bytes.length < 107 ? 'more' : 'wrong'
  const [, family = '', source = '', destination = '', ...ports] = bytes.toString('latin1', 0, end).split(' ')
  if (family === 'UNKNOWN') return { length: end + 2, address: undefined }
  const is = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : () => false
  if (!is(source) || !is(destination) || source.includes('%') || ports.length !== 2) return 'wrong'
  if (!ports.every(port => /^(0|[1-9][0-9]{0,4})$/.test(port) && Number(port) <= 65_535)) return 'wrong'
  return { length: end + 2, address: plainAddress(source) }
}

function parseVersion2(bytes: Buffer): ProxyHeader {
  if (bytes.length < 16) return 'more'
  const command = bytes.readUInt8(12)
  const family = bytes.readUInt8(13)
  const rest = bytes.readUInt16BE(14)
  const length = 16 + rest
  if (length > MOST_HEADER || (command !== 0x20 && command !== 0x21)) return 'wrong'
  if (bytes.length < length) return 'more'
  // LOCAL: its own check of health. A family that is not said is as good as none.
  if (command === 0x20 || family === 0) return { length, address: undefined }
  const address = bytes.subarray(16)
  if (family === 0x11 && rest >= 12) return { length, address: [...address.subarray(0, 4)].join('.') }
  if (family === 0x21 && rest >= 36) {
    const groups = Array.from({ length: 8 }, (_, i) => address.readUInt16BE(2 * i).toString(16))
    // As every other place writes it: the shortest form.
    return { length, address: plainAddress(new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)) }
  }
  return 'wrong'
}

/** Whose a connection is, by its two ends: Node gives no other way from a TLS socket to what was accepted. */
const told = new Map<string, { readonly address: string }>()

export function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string | undefined {
  // Gone before it was looked at.
  if (remoteAddress === undefined) return undefined
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/** Whose connection it is: of the balancer's client, where a balancer that may has said so. */
export function peerAddress(socket: Socket): string | undefined {
  return told.get(endsOf(socket) ?? '')?.address ?? socket.remoteAddress
}

/**
 * What a balancer has said of this connection, until that ends. It may use a port again at once, while the end of what it was used for has
 * not been heard of here.
 */
function tell(raw: Socket, address: string | undefined): void {
  const ends = endsOf(raw)
  if (ends === undefined) return
  told.delete(ends)
  if (address === undefined || isIP(address) === 0) return
  const own = { address }
  told.set(ends, own)
  raw.once('close', () => {
    if (told.get(ends) === own) told.delete(ends)
  })
}

type Options = {
  /** Milliseconds until a header has to be whole. */
  readonly timeout: number
  /** Whether this peer has to send one. */
  isFrom(raw: Socket): boolean
  /** The header has been read. */
  onAddress(raw: Socket): void
  /** It was none, or not in time: the connection is closed. */
  onRefused(raw: Socket): void
}

/** Reads the header of whoever has to send one before the server hears of the connection. Called before anything else listens for it. */
export function readProxyHeaders(server: Server, options: Options): void {
  const serve = server.listeners('connection')
  server.removeAllListeners('connection')
  server.on('connection', (raw: Socket) => {
    const goOn = () => {
      for (const each of serve) each.call(server, raw)
    }
    if (!options.isFrom(raw)) return goOn()
    const refuse = () => {
      options.onRefused(raw)
      raw.destroy()
    }
    const timer = setTimeout(refuse, options.timeout)
    raw.once('close', () => clearTimeout(timer))
    let got = Buffer.alloc(0)
    const onReadable = () => {
      const chunk: unknown = raw.read()
      if (!(chunk instanceof Buffer)) return
      got = Buffer.concat([got, chunk])
      const header = parseProxyHeader(got)
      if (header === 'more') return
      clearTimeout(timer)
      raw.off('readable', onReadable)
      if (header === 'wrong') return refuse()
      tell(raw, header.address)
      if (got.length > header.length) raw.unshift(got.subarray(header.length))
      options.onAddress(raw)
      // Behind what the stream does when nobody waits for it to be readable any more.
      process.nextTick(goOn)
    }
    raw.on('readable', onReadable)
  })
}
