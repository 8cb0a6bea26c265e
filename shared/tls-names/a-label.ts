/**
 * Pure: whether a label that begins with `xn--` is what Punycode (RFC 3492) makes of other letters: the CA/Browser Forum's
 * P-label. Nothing is ever shown decoded: a name that looks like another one does so in its letters, not as `xn--…`.
 */
export const isALabel = (label: string): boolean => decodePunycode(label.slice('xn--'.length)) !== undefined

const DIGITS = 'abcdefghijklmnopqrstuvwxyz0123456789'

/** RFC 3492 section 6.2; `undefined` for what no encoder writes. Lower case. */
export function decodePunycode(encoded: string): string | undefined {
  const basic = Math.max(0, encoded.lastIndexOf('-'))
  const decoded = Array.from(encoded.slice(0, basic), letter => letter.codePointAt(0) ?? 0)
  let [n, i, bias] = [128, 0, 72]
  for (let at = basic > 0 ? basic + 1 : 0; at < encoded.length; ) {
    const before = i
    for (let weight = 1, k = 36; ; k += 36) {
      const digit = DIGITS.indexOf(encoded[at++] ?? ' ')
      if (digit < 0) return undefined
      i += digit * weight
      if (i > 0x7fff_ffff) return undefined
      const threshold = Math.min(26, Math.max(1, k - bias))
      if (digit < threshold) break
      weight *= 36 - threshold
    }
    const length = decoded.length + 1
    bias = adapt(i - before, length, before === 0)
    n += Math.floor(i / length)
    i %= length
    if (n > 0x10_ffff || (n >= 0xd800 && n <= 0xdfff)) return undefined
    decoded.splice(i++, 0, n)
  }
  return String.fromCodePoint(...decoded)
}

/** Section 6.1. */
function adapt(delta: number, length: number, isFirst: boolean): number {
  let left = Math.floor(delta / (isFirst ? 700 : 2))
  left += Math.floor(left / length)
  let k = 0
  for (; left > 455; k += 36) left = Math.floor(left / 35)
  return k + Math.floor((36 * left) / (left + 38))
}
