import { concat, fromUtf8, utf8 } from '../bytes.ts'
import { invalid } from '../errors.ts'

/**
 * Pure: the data types of RFC 4251 section 5. The reader checks every length against what is left before it reads, and
 * `end()` refuses trailing bytes; it gives views, not copies.
 */
export class SshReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #field: string
  #at = 0

  /** `field` is named in refusals. */
  constructor(bytes: Uint8Array, field = 'data') {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#field = field
  }

  get remaining(): number {
    return this.#bytes.length - this.#at
  }
  /** Offset of the next byte. */
  get offset(): number {
    return this.#at
  }

  fail(message: string): never {
    throw invalid(this.#field, message)
  }

  #take(length: number): number {
    if (length > this.remaining) this.fail(`it ends too early: ${length} bytes expected, ${this.remaining} left`)
    const at = this.#at
    this.#at += length
    return at
  }

  byte(): number {
    return this.#view.getUint8(this.#take(1))
  }
  uint32(): number {
    return this.#view.getUint32(this.#take(4))
  }
  uint64(): bigint {
    return this.#view.getBigUint64(this.#take(8))
  }
  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }
  string(): Uint8Array {
    return this.bytes(this.uint32())
  }
  /** A string that must be UTF-8. */
  text(): string {
    const bytes = this.string()
    try {
      return fromUtf8(bytes)
    } catch {
      return this.fail('a text is not UTF-8')
    }
  }
  /** A non-negative mpint as big-endian bytes without leading zeros; the shortest form is demanded, so that no number has two encodings. */
  mpint(): Uint8Array {
    const bytes = this.string()
    const [first = 0, second = 0] = bytes
    if (bytes.length === 0) return bytes
    if (first & 0x80) this.fail('a number is negative')
    if (first !== 0) return bytes
    if (bytes.length === 1 || !(second & 0x80)) this.fail('a number is not in its shortest form')
    return bytes.subarray(1)
  }
  end(): void {
    if (this.remaining > 0) this.fail(`${this.remaining} bytes follow its end`)
  }
}

/** Collects the same types. Every method gives the writer itself. */
export class SshWriter {
  readonly #parts: Uint8Array[] = []

  #add(bytes: Uint8Array): this {
    this.#parts.push(bytes)
    return this
  }
  byte(value: number): this {
    return this.#add(Uint8Array.of(value))
  }
  uint32(value: number): this {
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, value)
    return this.#add(bytes)
  }
  uint64(value: bigint): this {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, value)
    return this.#add(bytes)
  }
  /** As it stands, without a length. */
  raw(bytes: Uint8Array): this {
    return this.#add(bytes)
  }
  string(value: Uint8Array | string): this {
    const bytes = typeof value === 'string' ? utf8(value) : value
    return this.uint32(bytes.length).#add(bytes)
  }
  /** Big-endian bytes of a non-negative number, in the shortest form. */
  mpint(bytes: Uint8Array): this {
    let start = 0
    while (start < bytes.length && bytes[start] === 0) start++
    const shortest = bytes.subarray(start)
    const needsZero = ((shortest[0] ?? 0) & 0x80) !== 0
    return this.string(needsZero ? concat(Uint8Array.of(0), shortest) : shortest)
  }
  bytes(): Uint8Array {
    return concat(...this.#parts)
  }
}
