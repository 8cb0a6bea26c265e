import { fromUtf8 } from '../bytes.ts'
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
  /** A string that must be UTF-8 without NUL: OpenSSH reads names as C strings, so what follows a NUL would be seen by one side alone. */
  text(): string {
    const bytes = this.string()
    if (bytes.includes(0)) this.fail('a text holds a NUL')
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

const encoder = new TextEncoder()
/** RFC 4251's uint64, and a serial's end. */
const MAX_UINT64 = (1n << 64n) - 1n

/**
 * Writes the same types, into one buffer that doubles: certificates are made by the thousand a second. Every method gives
 * the writer itself; a number that does not fit its type is a RangeError, never cut.
 */
export class SshWriter {
  #buffer: Uint8Array
  #view: DataView
  #length = 0

  /** `capacity`: bytes to begin with. */
  constructor(capacity = 256) {
    this.#buffer = new Uint8Array(capacity)
    this.#view = new DataView(this.#buffer.buffer)
  }

  /** Offset of `length` fresh bytes. */
  #grow(length: number): number {
    const at = this.#length
    const needed = at + length
    if (needed > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(needed, 2 * this.#buffer.length))
      larger.set(this.#buffer.subarray(0, at))
      this.#buffer = larger
      this.#view = new DataView(larger.buffer)
    }
    this.#length = needed
    return at
  }

  byte(value: number): this {
    if (!Number.isInteger(value) || value < 0 || value > 0xff) throw new RangeError(`${value} is not a byte`)
    const at = this.#grow(1)
    this.#view.setUint8(at, value)
    return this
  }
  uint32(value: number): this {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) throw new RangeError(`${value} is not a uint32`)
    const at = this.#grow(4)
    this.#view.setUint32(at, value)
    return this
  }
  uint64(value: bigint): this {
    if (value < 0n || value > MAX_UINT64) throw new RangeError(`${value} is not a uint64`)
    const at = this.#grow(8)
    this.#view.setBigUint64(at, value)
    return this
  }
  /** As it stands, without a length. */
  raw(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length)
    this.#buffer.set(bytes, at)
    return this
  }
  /** Text as UTF-8. */
  string(value: Uint8Array | string): this {
    if (typeof value !== 'string') return this.uint32(value.length).raw(value)
    // No character of UTF-16 takes more than three bytes of UTF-8.
    const start = this.#grow(4 + 3 * value.length)
    const { written } = encoder.encodeInto(value, this.#buffer.subarray(start + 4))
    this.#view.setUint32(start, written)
    this.#length = start + 4 + written
    return this
  }
  /** A string of its own made of what `write` writes: no second buffer for lists within lists. */
  nested(write: (writer: this) => void): this {
    const start = this.#grow(4)
    write(this)
    this.#view.setUint32(start, this.#length - start - 4)
    return this
  }
  /** Big-endian bytes of a non-negative number, in the shortest form. */
  mpint(bytes: Uint8Array): this {
    let start = 0
    while (start < bytes.length && bytes[start] === 0) start++
    const shortest = bytes.subarray(start)
    if (((shortest[0] ?? 0) & 0x80) === 0) return this.string(shortest)
    return this.uint32(shortest.length + 1)
      .byte(0)
      .raw(shortest)
  }
  /** A copy of what was written. */
  bytes(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }
}
