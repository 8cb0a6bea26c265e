/** Bytes, hex and base64 without `Buffer`. Base64 as in RFC 4648: standard alphabet with padding, or URL-safe without. */
export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
/** Throws a TypeError where the bytes are not UTF-8. */
export const fromUtf8 = (bytes: Uint8Array): string =>
  new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Not constant-time: for public values only. Secrets are compared with `timingSafeEqual`. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** -1, 0 or 1, as memcmp orders; the shorter one first where one is the other's beginning. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length)
  for (let i = 0; i < n; i++) {
    const d = (a[i] ?? 0) - (b[i] ?? 0)
    if (d !== 0) return d < 0 ? -1 : 1
  }
  return Math.sign(a.length - b.length)
}

export const toHex = (bytes: Uint8Array): string => bytes.toHex()
export const fromHex = (text: string): Uint8Array => Uint8Array.fromHex(text)
export const toBase64 = (bytes: Uint8Array): string => bytes.toBase64()
export const toBase64Url = (bytes: Uint8Array): string => bytes.toBase64({ alphabet: 'base64url', omitPadding: true })
/** Strict: throws a SyntaxError on white space, on a wrong alphabet and on missing padding. */
export function fromBase64(text: string): Uint8Array {
  if (/\s/.test(text)) throw new SyntaxError('white space in base64')
  return Uint8Array.fromBase64(text, { lastChunkHandling: 'strict' })
}
export function fromBase64Url(text: string): Uint8Array {
  if (/[\s=]/.test(text)) throw new SyntaxError('white space or padding in base64url')
  return Uint8Array.fromBase64(text, { alphabet: 'base64url' })
}
