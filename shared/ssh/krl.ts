import { createHash } from 'node:crypto'
import { compareBytes, equalBytes } from '../bytes.ts'
import { invalid } from '../errors.ts'
import type { Certificate } from './certificate.ts'
import { bitLength, decodePublicKey, type SshPublicKey } from './public-key.ts'
import { SshReader, SshWriter } from './wire.ts'

/**
 * Pure: OpenSSH key revocation lists, PROTOCOL.krl. A KRL is never signed inside (sshd from 9.4 on refuses a signature
 * section), never names serial 0, and is never empty: with nothing revoked it is its header alone, 44 bytes and comment.
 */
export type SerialRange = { readonly from: bigint; readonly to: bigint }
export type KrlSection = {
  /** Whose certificates; undefined: those of any authority. */
  readonly authority: SshPublicKey | undefined
  /** Both ends inclusive. */
  readonly serials: readonly SerialRange[]
  readonly keyIds: readonly string[]
}
export type Krl = {
  readonly version: bigint
  /** Unix seconds. */
  readonly generatedAt: bigint
  readonly comment: string
  readonly certificates: readonly KrlSection[]
  /** Blobs of plain keys. */
  readonly keys: readonly Uint8Array[]
  /** SHA-256 of blobs of plain keys, 32 bytes each. */
  readonly fingerprints: readonly Uint8Array[]
  /** SHA-1 likewise, 20 bytes: read, never written. */
  readonly sha1Fingerprints?: readonly Uint8Array[]
}

const MAGIC = 0x5353484b524c0a00n // "SSHKRL\n\0"
const FORMAT = 1
const SECTION = { certificates: 1, key: 2, sha1: 3, sha256: 5 } as const
const CERT = { list: 0x20, range: 0x21, bitmap: 0x22, keyId: 0x23 } as const
const MAX_SERIAL = (1n << 64n) - 1n
/** sshd reads a bitmap as a bignum of at most 16,384 bits. */
const MAX_BITMAP_BITS = 16_000n
/** A run longer than this is shorter as a range (21 bytes) than as bits. */
const LONG_RUN = 168n
/** A gap of fewer bits than one more list entry (8 bytes) costs is bridged by the bitmap. */
const MAX_GAP = 64n

/** Throws `invalid-input` for serial 0, an upside-down range, an empty key ID, a fingerprint of another size. */
export function encodeKrl(krl: Krl): Uint8Array {
  const writer = new SshWriter().uint64(MAGIC).uint32(FORMAT).uint64(krl.version).uint64(krl.generatedAt).uint64(0n)
  writer.string('').string(krl.comment)
  for (const section of krl.certificates) {
    const body = encodeCertificates(section)
    if (body) writer.byte(SECTION.certificates).string(body)
  }
  for (const key of krl.keys) demandPlainType(key)
  writeSorted(writer, SECTION.key, krl.keys)
  for (const hash of krl.fingerprints)
    if (hash.length !== 32) throw invalid('fingerprints', 'a SHA-256 fingerprint has 32 bytes')
  writeSorted(writer, SECTION.sha256, krl.fingerprints)
  return writer.bytes()
}

/** Any type of key may be revoked, those too that are never taken; but sshd compares plain keys, so a certificate there revokes nothing. */
function demandPlainType(blob: Uint8Array): void {
  const type = new SshReader(blob, 'keys').text()
  if (type.includes('-cert-v')) throw invalid('keys', 'a certificate stands where a plain key belongs')
}

function writeSorted(writer: SshWriter, type: number, values: readonly Uint8Array[]): void {
  if (values.length === 0) return
  const body = new SshWriter()
  // sshd wants fingerprints in numeric order.
  const sorted = values.toSorted(compareBytes)
  sorted.forEach((value, i) => {
    if (i === 0 || !equalBytes(value, sorted[i - 1] ?? value)) body.string(value)
  })
  writer.byte(type).string(body.bytes())
}

function encodeCertificates(section: KrlSection): Uint8Array | undefined {
  if (section.serials.length === 0 && section.keyIds.length === 0) return undefined
  const writer = new SshWriter().string(section.authority?.blob ?? '').string('')
  encodeSerials(writer, mergeRanges(section.serials))
  if (section.keyIds.length > 0) {
    const ids = new SshWriter()
    for (const id of [...new Set(section.keyIds)].sort()) {
      if (id === '' || id.includes('\0')) throw invalid('keyIds', 'a key ID is not empty and holds no NUL')
      ids.string(id)
    }
    writer.byte(CERT.keyId).string(ids.bytes())
  }
  return writer.bytes()
}

/** Sorted, overlapping and touching ranges made one. Throws `invalid-input` for what a KRL cannot name. */
export function mergeRanges(ranges: readonly SerialRange[]): SerialRange[] {
  const merged: { from: bigint; to: bigint }[] = []
  for (const { from, to } of ranges.toSorted((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
    if (from <= 0n || to < from || to > MAX_SERIAL)
      throw invalid('serials', `${from} to ${to} is not a range of serials above 0`)
    const last = merged.at(-1)
    if (last && from <= last.to + 1n) last.to = larger(to, last.to)
    else merged.push({ from, to })
  }
  return merged
}

const larger = (a: bigint, b: bigint): bigint => (a < b ? b : a)

/** Long runs as ranges; what lies close together as bitmaps; the rest as one list. */
function encodeSerials(writer: SshWriter, ranges: readonly SerialRange[]): void {
  const list: bigint[] = []
  let group: SerialRange[] = []
  const flush = () => {
    const [first, last] = [group[0], group.at(-1)]
    if (!first || !last) return
    const count = group.reduce((sum, { from, to }) => sum + (to - from + 1n), 0n)
    const bits = last.to - first.from + 1n
    if (17n + bits / 8n + 1n < 8n * count) writer.byte(CERT.bitmap).string(bitmap(first.from, bits, group))
    else for (const { from, to } of group) for (let serial = from; serial <= to; serial++) list.push(serial)
    group = []
  }
  for (const range of ranges) {
    const [first, last] = [group[0], group.at(-1)]
    const long = range.to - range.from >= LONG_RUN
    if (long || (first && last && (range.from - last.to > MAX_GAP || range.to - first.from >= MAX_BITMAP_BITS))) flush()
    if (long) writer.byte(CERT.range).string(new SshWriter().uint64(range.from).uint64(range.to).bytes())
    else group.push(range)
  }
  flush()
  if (list.length === 0) return
  const body = new Uint8Array(list.length * 8)
  const view = new DataView(body.buffer)
  for (const [i, serial] of list.entries()) view.setBigUint64(i * 8, serial)
  writer.byte(CERT.list).string(body)
}

/** Bit n of the number stands for the serial `offset + n`. */
function bitmap(offset: bigint, bits: bigint, ranges: readonly SerialRange[]): Uint8Array {
  const bytes = new Uint8Array(Number((bits + 7n) / 8n))
  for (const { from, to } of ranges)
    for (let bit = Number(from - offset); bit <= Number(to - offset); bit++) {
      const at = bytes.length - 1 - (bit >> 3)
      bytes[at] = (bytes[at] ?? 0) | (1 << (bit & 7))
    }
  return new SshWriter().uint64(offset).mpint(bytes).bytes()
}

/** Throws `invalid-input` for everything that sshd would not read, and for a section that is not written here (signature, extension). */
export function decodeKrl(bytes: Uint8Array, field = 'krl'): Krl {
  // A file of zero bytes revokes nothing any more, and a text file is read by sshd as a list of keys: neither is a KRL.
  const reader = new SshReader(bytes, field)
  if (reader.remaining < 8 || reader.uint64() !== MAGIC) reader.fail('it is not a KRL')
  if (reader.uint32() !== FORMAT) reader.fail('its format is not version 1')
  const version = reader.uint64()
  const generatedAt = reader.uint64()
  reader.uint64() // flags: none are defined
  reader.string() // reserved
  const comment = reader.text()
  const sections: MutableSection[] = []
  const keys: Uint8Array[] = []
  const fingerprints: Uint8Array[] = []
  const sha1Fingerprints: Uint8Array[] = []
  while (reader.remaining > 0) {
    const type = reader.byte()
    const body = reader.string()
    if (type === SECTION.certificates) decodeCertificates(body, field, sections)
    else if (type === SECTION.key) keys.push(...decodeKeys(body, field))
    else if (type === SECTION.sha256) fingerprints.push(...decodeHashes(body, 32, field))
    else if (type === SECTION.sha1) sha1Fingerprints.push(...decodeHashes(body, 20, field))
    else reader.fail(`a section of type ${type} is not taken`)
  }
  const certificates = sections.map(section => ({ ...section, serials: mergeRanges(section.serials) }))
  return {
    version,
    generatedAt,
    comment,
    certificates,
    keys,
    fingerprints,
    ...(sha1Fingerprints.length > 0 ? { sha1Fingerprints } : {}),
  }
}

type MutableSection = { authority: SshPublicKey | undefined; serials: SerialRange[]; keyIds: string[] }

function decodeCertificates(body: Uint8Array, field: string, sections: MutableSection[]): void {
  const reader = new SshReader(body, field)
  const blob = reader.string()
  reader.string() // reserved
  const authority = blob.length === 0 ? undefined : decodePublicKey(blob, field)
  let section = sections.find(known => equalBytes(known.authority?.blob ?? new Uint8Array(0), blob))
  if (!section) {
    section = { authority, serials: [], keyIds: [] }
    sections.push(section)
  }
  while (reader.remaining > 0) {
    const type = reader.byte()
    const inner = new SshReader(reader.string(), field)
    if (type === CERT.list) {
      if (inner.remaining === 0) inner.fail('a list of serials is empty')
      while (inner.remaining > 0) section.serials.push(range(inner, inner.uint64()))
    } else if (type === CERT.range) section.serials.push(range(inner, inner.uint64(), inner.uint64()))
    else if (type === CERT.bitmap) section.serials.push(...decodeBitmap(inner))
    else if (type === CERT.keyId) while (inner.remaining > 0) section.keyIds.push(keyId(inner))
    else reader.fail(`a part of type ${type} is not taken`)
    inner.end()
  }
}

function range(reader: SshReader, from: bigint, to = from): SerialRange {
  if (from === 0n || to < from) reader.fail(`${from} to ${to} is not a range of serials above 0`)
  return { from, to }
}

function keyId(reader: SshReader): string {
  const id = reader.text()
  if (id === '') reader.fail('a key ID is empty')
  return id
}

function decodeBitmap(reader: SshReader): SerialRange[] {
  const offset = reader.uint64()
  const bits = reader.mpint()
  const length = bitLength(bits)
  if (length > Number(MAX_BITMAP_BITS) + 384) reader.fail('a bitmap is larger than sshd reads')
  if (offset + BigInt(Math.max(0, length - 1)) > MAX_SERIAL) reader.fail('a bitmap goes beyond 64 bits')
  const ranges: { from: bigint; to: bigint }[] = []
  for (let bit = 0; bit < length; bit++) {
    if (!((bits[bits.length - 1 - (bit >> 3)] ?? 0) & (1 << (bit & 7)))) continue
    const serial = offset + BigInt(bit)
    if (serial === 0n) reader.fail('a bitmap names serial 0')
    const last = ranges.at(-1)
    if (last && last.to + 1n === serial) last.to = serial
    else ranges.push({ from: serial, to: serial })
  }
  return ranges
}

function decodeKeys(body: Uint8Array, field: string): Uint8Array[] {
  const reader = new SshReader(body, field)
  const keys: Uint8Array[] = []
  // sshd compares the bytes alone, and so do we: a revoked key may be of a type or size that is never taken.
  while (reader.remaining > 0) keys.push(reader.string())
  return keys
}

function decodeHashes(body: Uint8Array, size: number, field: string): Uint8Array[] {
  const reader = new SshReader(body, field)
  const hashes: Uint8Array[] = []
  while (reader.remaining > 0) {
    const hash = reader.string()
    const before = hashes.at(-1)
    if (hash.length !== size) reader.fail(`a fingerprint has ${hash.length} bytes, not ${size}`)
    if (before && compareBytes(before, hash) >= 0) reader.fail('fingerprints are not in numeric order')
    hashes.push(hash)
  }
  return hashes
}

/** As sshd decides: by the plain key, and for a certificate by its authority's key, serial and key ID too. */
export function isRevoked(krl: Krl, subject: SshPublicKey | Certificate): boolean {
  const key = 'subjectKey' in subject ? subject.subjectKey : subject
  if (keyRevoked(krl, key)) return true
  if (!('subjectKey' in subject)) return false
  if (keyRevoked(krl, subject.authorityKey)) return true
  return krl.certificates.some(
    section =>
      (section.authority === undefined || equalBytes(section.authority.blob, subject.authorityKey.blob)) &&
      (section.keyIds.includes(subject.keyId) || (subject.serial !== 0n && holds(section.serials, subject.serial))),
  )
}

function keyRevoked(krl: Krl, { blob }: SshPublicKey): boolean {
  const { keys, fingerprints, sha1Fingerprints = [] } = krl
  const isIn = (values: readonly Uint8Array[], wanted: Uint8Array) => values.some(value => equalBytes(value, wanted))
  const hash = (name: 'sha256' | 'sha1') => new Uint8Array(createHash(name).update(blob).digest())
  return (
    isIn(keys, blob) ||
    (fingerprints.length > 0 && isIn(fingerprints, hash('sha256'))) ||
    (sha1Fingerprints.length > 0 && isIn(sha1Fingerprints, hash('sha1')))
  )
}

const holds = (ranges: readonly SerialRange[], serial: bigint): boolean =>
  ranges.some(({ from, to }) => from <= serial && serial <= to)
