import { ipAddressText, isAddressRange, isMappedV4, parseIpAddress } from '../ip-address.ts'
import type { Reading } from './reading.ts'

/** Pure: IP addresses as certificates have them, 4 or 16 bytes (RFC 5280 section 4.2.1.6), and networks of them. */

const NO_ADDRESS = 'is no IP address such as 192.0.2.7 or 2001:db8::7'
// Whoever reads such a name may take it for the IPv4 address, which no pattern of IPv6 is to give.
const MAPPED = 'is an IPv4 address in the form of IPv6: write the IPv4 address'

export function readIpAddress(text: string): Reading {
  const bytes = parseIpAddress(text)
  if (!bytes) return { wrong: NO_ADDRESS }
  return isMappedV4(bytes) ? { wrong: MAPPED } : { text: ipAddressText(bytes) }
}

/** The shortest prefix: less is every address by an oversight. */
const SHORTEST = 8

/** An address, or a network with no bit behind its prefix. */
export function readIpPattern(text: string): Reading {
  const [address = '', prefix] = text.split('/')
  const bytes = parseIpAddress(address)
  if (!bytes) return { wrong: `${NO_ADDRESS}, nor a network of one` }
  if (!isAddressRange(text)) return { wrong: 'is no network: a prefix has no bit behind it, as in 10.0.0.0/8' }
  if (isMappedV4(bytes)) return { wrong: MAPPED }
  const bits = prefix === undefined ? bytes.length * 8 : Number(prefix)
  if (bits < SHORTEST) return { wrong: `has a prefix shorter than /${SHORTEST}, which would be every address` }
  return { text: bits === bytes.length * 8 ? ipAddressText(bytes) : `${ipAddressText(bytes)}/${bits}` }
}

/** Both as they were read. */
export function coversIp(pattern: string, address: string): boolean {
  const [network = '', prefix] = pattern.split('/')
  const [of, asked] = [parseIpAddress(network), parseIpAddress(address)]
  if (!of || of.length !== asked?.length) return false
  const bits = prefix === undefined ? of.length * 8 : Number(prefix)
  return of.every((byte, i) => ((byte ^ (asked[i] ?? 0)) & ~(0xff >> Math.min(8, Math.max(0, bits - 8 * i)))) === 0)
}
