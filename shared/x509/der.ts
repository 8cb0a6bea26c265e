import { concat } from '../bytes.ts'
import { invalid } from '../errors.ts'

/**
 * Pure: the few DER types that our certificates are made of (ITU-T X.690), written and read. Small on purpose: on the
 * issuing path it is several times as fast as a library for all of ASN.1, and the whole of it can be reviewed in a sitting.
 */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** One element: tag, the shortest length (X.690 section 10.1), content. */
export function element(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of content) length += part.length
  return concat(Uint8Array.of(tag, ...lengthBytes(length)), ...content)
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length]
  if (length < 0x100) return [0x81, length]
  if (length < 0x1_0000) return [0x82, length >> 8, length & 0xff]
  return [0x83, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff]
}

export const sequence = (...content: readonly Uint8Array[]): Uint8Array => element(TAG.sequence, ...content)
export const octetString = (content: Uint8Array): Uint8Array => element(TAG.octetString, content)
/** `[number]` constructed, as EXPLICIT tags are; primitive for IMPLICIT tags of strings. */
export const contextTag = (number: number, form: 'constructed' | 'primitive', content: Uint8Array): Uint8Array =>
  element(0x80 | (form === 'constructed' ? 0x20 : 0) | number, content)
export const bitString = (content: Uint8Array, unusedBits = 0): Uint8Array =>
  element(TAG.bitString, Uint8Array.of(unusedBits), content)
export const utf8String = (text: string): Uint8Array => element(TAG.utf8String, new TextEncoder().encode(text))
export const TRUE = Uint8Array.of(TAG.boolean, 1, 0xff)
export const NULL = Uint8Array.of(TAG.null, 0)

/** An unsigned number, big-endian, as INTEGER: no needless leading zeros, one where the top bit would say 'negative'. */
export function unsignedInteger(bigEndian: Uint8Array): Uint8Array {
  let start = 0
  while (start < bigEndian.length - 1 && bigEndian[start] === 0) start++
  const magnitude = bigEndian.subarray(start)
  const first = magnitude[0]
  if (first === undefined) return Uint8Array.of(TAG.integer, 1, 0)
  return first & 0x80 ? element(TAG.integer, Uint8Array.of(0), magnitude) : element(TAG.integer, magnitude)
}

/** A number of 0 or more as INTEGER. */
export function integer(value: bigint): Uint8Array {
  const hex = value.toString(16)
  return unsignedInteger(Uint8Array.fromHex(hex.length % 2 ? `0${hex}` : hex))
}

/** `1.2.840.10045.2.1` as OBJECT IDENTIFIER. */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes: number[] = []
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc % 128]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left % 128) | 0x80)
    bytes.push(...groups)
  }
  return element(TAG.oid, Uint8Array.from(bytes))
}

/** RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on; whole seconds, always with `Z`. */
export function time(date: Date): Uint8Array {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, '')
  const year = date.getUTCFullYear()
  return year < 2050
    ? element(TAG.utcTime, new TextEncoder().encode(digits.slice(2)))
    : element(TAG.generalizedTime, new TextEncoder().encode(digits))
}

/** Reads elements one after the other. Definite, shortest lengths only; whatever is not strict DER throws `invalid-input` on `field`. */
export class DerReader {
  readonly #bytes: Uint8Array
  readonly #field: string
  #at = 0

  constructor(bytes: Uint8Array, field: string) {
    this.#bytes = bytes
    this.#field = field
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  /** The tag of what comes next; undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#at]
  }

  /** The content of the next element, which has to have this tag. */
  read(tag: number): Uint8Array {
    if (this.peek() !== tag) throw this.#broken(`tag 0x${tag.toString(16)} expected at byte ${this.#at}`)
    const { start, end } = this.#bounds()
    this.#at = end
    return this.#bytes.subarray(start, end)
  }

  /** The next element whole: tag, length and content. */
  readWhole(tag: number): Uint8Array {
    const from = this.#at
    this.read(tag)
    return this.#bytes.subarray(from, this.#at)
  }

  /** A reader of the next element's content. */
  enter(tag: number): DerReader {
    return new DerReader(this.read(tag), this.#field)
  }

  /** A BIT STRING of whole bytes. */
  readBitString(): Uint8Array {
    const content = this.read(TAG.bitString)
    if (content[0] !== 0) throw this.#broken('a bit string of whole bytes expected')
    return content.subarray(1)
  }

  /** A positive INTEGER's magnitude, without the sign byte. */
  readPositiveInteger(): Uint8Array {
    const content = this.read(TAG.integer)
    const [first, second] = content
    if (first === undefined || first & 0x80 || (first === 0 && (second === undefined || !(second & 0x80)))) {
      throw this.#broken('a positive integer in its shortest form expected')
    }
    return first === 0 ? content.subarray(1) : content
  }

  /** Throws where bytes are left. */
  end(): void {
    if (!this.atEnd) throw this.#broken(`${this.#bytes.length - this.#at} bytes too many`)
  }

  #bounds(): { start: number; end: number } {
    const first = this.#bytes[this.#at + 1]
    let start = this.#at + 2
    let length = first
    if (first !== undefined && first >= 0x80) {
      const count = first & 0x7f
      if (count === 0 || count > 3) throw this.#broken('a length that DER does not allow')
      length = 0
      for (let i = 0; i < count; i++) length = length * 256 + (this.#bytes[start + i] ?? Number.NaN)
      start += count
      if (length < 0x80 || length < 256 ** (count - 1)) throw this.#broken('a length that is not in its shortest form')
    }
    if (length === undefined || !(start + length <= this.#bytes.length)) throw this.#broken('it is cut off')
    return { start, end: start + length }
  }

  #broken(what: string) {
    return invalid(this.#field, `not valid DER: ${what}`)
  }
}
