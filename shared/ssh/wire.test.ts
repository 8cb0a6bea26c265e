import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHex, toHex, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { SshReader, SshWriter } from './wire.ts'

describe('the data types of RFC 4251', () => {
  it('writes the numbers of section 5 as they stand there', () => {
    const mpint = (hex: string) => toHex(new SshWriter().mpint(fromHex(hex)).bytes())
    expect(mpint('')).toBe('00000000')
    expect(mpint('09a378f9b2e332a7')).toBe('0000000809a378f9b2e332a7')
    expect(mpint('80')).toBe('000000020080')
    expect(mpint('000080')).toBe('000000020080')
    expect(toHex(new SshWriter().string('testing').bytes())).toBe('0000000774657374696e67')
    expect(toHex(new SshWriter().uint32(699_921_578).bytes())).toBe('29b7f4aa')
  })

  it('reads what it wrote, whatever it was', () => {
    const number = fc.uint8Array({ maxLength: 70 }).filter(bytes => bytes[0] !== 0)
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 255 }),
        fc.nat(),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.uint8Array({ maxLength: 2000 }),
        fc.string({ unit: 'grapheme' }).filter(text => !text.includes('\0')),
        number,
        (byte, small, large, bytes, text, big) => {
          const writer = new SshWriter().byte(byte).uint32(small).uint64(large).string(bytes).string(text).mpint(big)
          const reader = new SshReader(writer.bytes())
          expect(reader.byte()).toBe(byte)
          expect(reader.uint32()).toBe(small)
          expect(reader.uint64()).toBe(large)
          expect(toHex(reader.string())).toBe(toHex(bytes))
          expect(reader.text()).toBe(text)
          expect(toHex(reader.mpint())).toBe(toHex(big))
          expect(reader.remaining).toBe(0)
          reader.end()
        },
      ),
    )
  })

  it('reads a view into a larger buffer from its own beginning and to its own end', () => {
    const inside = fromHex('ffffffff00000002abcdff').subarray(4, 10)
    const reader = new SshReader(inside)
    expect(toHex(reader.string())).toBe('abcd')
    expect(() => reader.byte()).toThrow(KeymanError)
  })
})

describe('the reader refuses', () => {
  const refused = (hex: string, read: (reader: SshReader) => unknown) =>
    expect(() => read(new SshReader(fromHex(hex), 'thing'))).toThrow(/^thing: /)

  it('a length that goes past the end, by one byte and by four thousand million', () => {
    refused('00000003abcd', reader => reader.string())
    refused('ffffffffabcd', reader => reader.string())
    refused('000000', reader => reader.string())
    refused('0102030405060 7'.replace(' ', ''), reader => reader.uint64())
    expect(toHex(new SshReader(fromHex('00000002abcd')).string())).toBe('abcd')
  })
  it('a string inside a string that is longer than the outer one', () => {
    const outer = new SshReader(fromHex('00000006000000040102ffff'))
    const inner = new SshReader(outer.string())
    expect(() => inner.string()).toThrow(KeymanError)
  })
  it('bytes that follow the end', () => {
    refused('00000000ff', reader => {
      reader.string()
      reader.end()
    })
  })
  it('a negative number, and one that has a zero too many', () => {
    refused('0000000180', reader => reader.mpint())
    refused('00000002007f', reader => reader.mpint())
    refused('0000000100', reader => reader.mpint())
    expect(toHex(new SshReader(fromHex('000000020080')).mpint())).toBe('80')
  })
  it('a text that is not UTF-8, or holds a NUL that would end it for a C program', () => {
    refused('00000001ff', reader => reader.text())
    refused('00000003610062', reader => reader.text())
    expect(new SshReader(fromHex('00000003616263')).text()).toBe('abc')
  })
})

describe('the writer', () => {
  it('throws where a number does not fit, and never cuts it', () => {
    for (const value of [-1, 1.5, 2 ** 32, Number.NaN]) expect(() => new SshWriter().uint32(value)).toThrow(RangeError)
    for (const value of [-1n, 2n ** 64n]) expect(() => new SshWriter().uint64(value)).toThrow(RangeError)
    for (const value of [-1, 256, 0.5]) expect(() => new SshWriter().byte(value)).toThrow(RangeError)
  })
  it('gives bytes that stay as they are when it goes on writing', () => {
    const writer = new SshWriter().string('a')
    const before = writer.bytes()
    writer.string('b'.repeat(1000))
    expect(toHex(before)).toBe('0000000161')
    expect(toHex(writer.bytes()).slice(0, 10)).toBe('0000000161')
  })
  it('takes text of every length in bytes', () => {
    for (const text of ['', 'ä', '€'.repeat(100), '😀'.repeat(300)])
      expect(toHex(new SshReader(new SshWriter().string(text).bytes()).string())).toBe(toHex(utf8(text)))
  })
})
