/**
 * Pure: an IP address as its 4 or 16 bytes; `undefined` for anything else. Strict: four decimal numbers without leading
 * zeros (some readers take those as octal), or RFC 4291 section 2.2 without zone.
 */
export function parseIpAddress(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text)
}

/** An address, or a network with no bit set behind its prefix: sshd refuses every login by any other. */
export function isAddressRange(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const bytes = parseIpAddress(address)
  if (!bytes || rest.length > 0) return false
  if (bits === undefined) return true
  if (!/^(0|[1-9][0-9]{0,2})$/.test(bits) || Number(bits) > bytes.length * 8) return false
  return bytes.every((byte, i) => (byte & (0xff >> Math.min(8, Math.max(0, Number(bits) - 8 * i)))) === 0)
}

/** An IPv4 address in the form of IPv6, `::ffff:192.0.2.7` (RFC 4291 section 2.5.5.2). */
export const isMappedV4 = (bytes: Uint8Array): boolean =>
  bytes.length === 16 &&
  bytes.subarray(0, 10).every(byte => byte === 0) &&
  bytes.subarray(10, 12).every(byte => byte === 0xff)

/** The one text of an address: of IPv6 that of RFC 5952 section 4, the longest run of zeros as `::`, the first of two. */
export function ipAddressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  const text = Array.from({ length: 8 }, (_, i) => groupAt(bytes, i).toString(16)).join(':')
  const [longest, ...others] = text.matchAll(/\b0(:0)+\b/g)
  if (!longest) return text
  const { 0: zeros, index } = others.reduce((a, b) => (b[0].length > a[0].length ? b : a), longest)
  return `${text.slice(0, index).replace(/:$/, '')}::${text.slice(index + zeros.length).replace(/^:/, '')}`
}

const groupAt = (bytes: Uint8Array, i: number): number => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)

function parseV4(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every(part => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256))
    return undefined
  return Uint8Array.from(parts, Number)
}

function parseV6(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const left = groups(halves[0] ?? '', halves.length === 1)
  const right = halves.length === 2 ? groups(halves[1] ?? '', true) : []
  if (!left || !right) return undefined
  const zeros = 8 - left.length - right.length
  if (halves.length === 1 ? zeros !== 0 : zeros < 1) return undefined
  const all = [...left, ...Array.from({ length: zeros }, () => 0), ...right]
  return Uint8Array.from(all.flatMap(group => [group >> 8, group & 0xff]))
}

/** The 16-bit groups of one side of `::`; the last may be an IPv4 address. */
function groups(text: string, mayEndInV4: boolean): number[] | undefined {
  if (text === '') return []
  const out: number[] = []
  const parts = text.split(':')
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      out.push(Number.parseInt(part, 16))
      continue
    }
    const v4 = mayEndInV4 && i === parts.length - 1 ? parseV4(part) : undefined
    if (!v4) return undefined
    const [a = 0, b = 0, c = 0, d = 0] = v4
    out.push((a << 8) | b, (c << 8) | d)
  }
  return out
}

/**
 * What one limit is for: an address; a subscriber of IPv6 has a whole /64, and so has that. Every limit by address goes by
 * this. An IPv4 address that a socket of IPv6 reports is what it is.
 */
export function addressKey(address: string): string {
  const bytes = address.includes(':') ? parseIpAddress(address.split('%')[0] ?? '') : undefined
  if (!bytes) return address
  return isMappedV4(bytes) ? bytes.subarray(12).join('.') : `${bytes.subarray(0, 8).toHex()}/64`
}
