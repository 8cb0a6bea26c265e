import { fromUtf8, utf8 } from '../bytes.ts'
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

/** Writes the same types, into one buffer that grows. Every method gives the writer itself. */
export class SshWriter {
  #buffer = new Uint8Array(256)
  #view = new DataView(this.#buffer.buffer)
  #at = 0

  /** Makes room for so many bytes and gives where they begin. */
  #take(length: number): number {
    const at = this.#at
    this.#at += length
    if (this.#at > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#at, 2 * this.#buffer.length))
      larger.set(this.#buffer.subarray(0, at))
      this.#buffer = larger
      this.#view = new DataView(larger.buffer)
    }
    return at
  }
  byte(value: number): this {
    const at = this.#take(1)
    this.#buffer[at] = value
    return this
  }
  uint32(value: number): this {
    const at = this.#take(4)
    this.#view.setUint32(at, value)
    return this
  }
  uint64(value: bigint): this {
    const at = this.#take(8)
    this.#view.setBigUint64(at, value)
    return this
  }
  /** As it stands, without a length. */
  raw(bytes: Uint8Array): this {
    const at = this.#take(bytes.length)
    this.#buffer.set(bytes, at)
    return this
  }
  string(value: Uint8Array | string): this {
    const bytes = typeof value === 'string' ? utf8(value) : value
    return this.uint32(bytes.length).raw(bytes)
  }
  /** Big-endian bytes of a non-negative number, in the shortest form. */
  mpint(bytes: Uint8Array): this {
    let start = 0
    while (start < bytes.length && bytes[start] === 0) start++
    const shortest = bytes.subarray(start)
    const needsZero = ((shortest[0] ?? 0) & 0x80) !== 0
    this.uint32(shortest.length + (needsZero ? 1 : 0))
    return (needsZero ? this.byte(0) : this).raw(shortest)
  }
  bytes(): Uint8Array {
    return this.#buffer.slice(0, this.#at)
  }
}
