import { generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { fromBase64, fromBase64Url, toHex } from '../bytes.ts'
import { encodeCheckpoint, leafHash, noteKeyId, parseCheckpoint, signedNote, verifyCheckpoint } from './index.ts'

const origin = 'keyman.example.com/log'
function logKey(name = origin) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const bytes = fromBase64Url(String(publicKey.export({ format: 'jwk' }).x))
  return {
    bytes,
    signer: {
      name,
      keyId: noteKeyId(name, bytes),
      sign: async (text: Uint8Array) => new Uint8Array(sign(null, text, privateKey)),
    },
  }
}
const root = leafHash(new Uint8Array(0))
const key = logKey()
const note = await signedNote(encodeCheckpoint({ origin, size: 42n, root }), key.signer)

describe('a checkpoint', () => {
  it('has the key IDs that other programs compute', () => {
    // Verifier keys of golang.org/x/mod/sumdb/note's documentation and of the Go checksum database.
    for (const known of [
      'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
      'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8',
    ]) {
      const [name = '', keyId, ...base64] = known.split('+')
      const bytes = fromBase64(base64.join('+')).slice(1)
      expect(toHex(noteKeyId(name, bytes))).toBe(keyId)
    }
  })

  it('is three lines, an empty one and a signature', () => {
    expect(note.split('\n')).toEqual([
      origin,
      '42',
      'bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=',
      '',
      expect.stringMatching(/^— keyman\.example\.com\/log [A-Za-z0-9+/]+=*$/),
      '',
    ])
  })

  it('gives its size and tree head back when the log key signed it', () => {
    expect(verifyCheckpoint(note, { origin, logKeys: [key.bytes] })).toEqual({ size: 42n, root })
  })

  it('passes over signatures of others, known or not, and over extension lines', async () => {
    const witness = logKey('witness.example.org')
    const text = `${encodeCheckpoint({ origin, size: 42n, root })}extension\n`
    const both = `${await signedNote(text, witness.signer)}${(await signedNote(text, key.signer)).split('\n\n')[1]}`
    expect(verifyCheckpoint(both, { origin, logKeys: [key.bytes] }).size).toBe(42n)
    expect(verifyCheckpoint(both, { origin, logKeys: [witness.bytes], name: 'witness.example.org' }).size).toBe(42n)
  })

  it('of a log of several keys is one by whichever of them, told by its ID, and by no other', async () => {
    const other = logKey()
    const by = await signedNote(encodeCheckpoint({ origin, size: 43n, root }), other.signer)
    const logKeys = [key.bytes, other.bytes]
    expect([note, by].map(each => verifyCheckpoint(each, { origin, logKeys }).size)).toEqual([42n, 43n])
    expect(() => verifyCheckpoint(by, { origin, logKeys: [key.bytes, logKey().bytes] })).toThrow(
      'not signed by the key',
    )
    // By the ID of the one, with the signature of the other.
    const claimed = await signedNote(encodeCheckpoint({ origin, size: 43n, root }), {
      ...key.signer,
      sign: other.signer.sign,
    })
    expect(() => verifyCheckpoint(claimed, { origin, logKeys })).toThrow('is wrong')
    expect(() => verifyCheckpoint(note, { origin, logKeys: [] })).toThrow('not signed by the key')
  })

  const refusals: [string, string, RegExp][] = [
    ['of another size', note.replace('\n42\n', '\n43\n'), /signature .* is wrong/],
    ['of another origin', note.replace(origin, 'evil.example.com/log'), /of another log/],
    ['without a signature', note.split('\n—')[0] ?? '', /no signatures/],
    ['with the key named otherwise', note.replace(`— ${origin}`, '— other'), /not signed by the key/],
    ['with a size that has a leading zero', note.replace('\n42\n', '\n042\n'), /decimal/],
    ['with a size below zero', note.replace('\n42\n', '\n-1\n'), /decimal/],
    ['with carriage returns', note.replaceAll('\n', '\r\n'), /signatures|control/],
    ['with a short tree head', note.replace('bjQL', ''), /32 bytes|base64/],
    ['with something after the signature', `${note}more`, /signatures/],
    ['that is empty', '', /signatures/],
    ['that is very long', `${note}${'x'.repeat(70_000)}\n`, /too long/],
  ]
  for (const [which, changed, why] of refusals)
    it(`${which} is refused`, () => {
      expect(() => verifyCheckpoint(changed, { origin, logKeys: [key.bytes] })).toThrow(why)
    })

  it('of another key with the same name is refused', () => {
    expect(() => verifyCheckpoint(note, { origin, logKeys: [logKey().bytes] })).toThrow('not signed by the key')
  })

  it('is refused, never a crash, whatever one byte is changed', () => {
    for (let at = 0; at < note.length; at++) {
      const changed = `${note.slice(0, at)}${note[at] === 'A' ? 'B' : 'A'}${note.slice(at + 1)}`
      expect(() => verifyCheckpoint(changed, { origin, logKeys: [key.bytes] })).toThrow('not a signed checkpoint')
    }
    expect(parseCheckpoint(note).size).toBe(42n)
  })

  it('can not be made from an origin, key name or text that would read as something else', async () => {
    expect(() => encodeCheckpoint({ origin: 'two\nlines', size: 1n, root })).toThrow(TypeError)
    expect(() => encodeCheckpoint({ origin, size: 1n, root: new Uint8Array(31) })).toThrow(TypeError)
    await expect(signedNote('no newline', key.signer)).rejects.toThrow(TypeError)
    await expect(signedNote('text\n', { ...key.signer, name: 'with blank' })).rejects.toThrow(TypeError)
  })
})
