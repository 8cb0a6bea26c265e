import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex, utf8 } from './bytes.ts'
import { actionChallenge, loginChallenge, proofMessage } from './login-challenge.ts'

const parts = {
  nonce: new Uint8Array(32).fill(1),
  sshPublicKey: utf8('key'),
  clientSpki: utf8('spki'),
  lifetime: 28_800,
  device: 'laptop',
  origin: 'https://keys.example.com',
}

describe('what a passkey signs at login', () => {
  it('is SHA-256 over SSH strings in the order that is written down', () => {
    const string = (hex: string) => (hex.length / 2).toString(16).padStart(8, '0') + hex
    const text = (value: string) => string(toHex(utf8(value)))
    const message =
      text('keyman-login-v1') +
      string('01'.repeat(32)) +
      text('key') +
      text('spki') +
      string('00007080') +
      text('laptop') +
      text('https://keys.example.com')
    const expected = createHash('sha256').update(Buffer.from(message, 'hex')).digest('hex')
    expect(toHex(loginChallenge(parts))).toBe(expected)
  })

  it('changes with each of its fields, and moving a border between two of them changes it too', () => {
    const all = [
      parts,
      { ...parts, nonce: new Uint8Array(32).fill(2) },
      { ...parts, sshPublicKey: utf8('kez') },
      { ...parts, clientSpki: utf8('spkj') },
      { ...parts, lifetime: 28_801 },
      { ...parts, device: 'laptoq' },
      { ...parts, origin: 'https://keys.example.org' },
      { ...parts, sshPublicKey: utf8('keys'), clientSpki: utf8('pki') },
      { ...parts, device: 'laptoph', origin: 'ttps://keys.example.com' },
    ].map(each => toHex(loginChallenge(each)))
    expect(new Set(all).size).toBe(all.length)
  })

  it('refuses a lifetime that is no uint32', () => {
    for (const lifetime of [-1, 1.5, 2 ** 32, Number.NaN])
      expect(() => loginChallenge({ ...parts, lifetime })).toThrow(RangeError)
    expect(loginChallenge({ ...parts, lifetime: 2 ** 32 - 1 })).toHaveLength(32)
  })
})

it('what is signed for a login is never what is signed for an action or a proof', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), fc.string(), fc.string(), (nonce, key, one, two) => {
      const action = actionChallenge({
        ...{ nonce, action: one, request: nonce, shown: two, session: one, device: one, clientSpki: key },
      })
      const login = loginChallenge({ ...parts, nonce, clientSpki: key, device: one, origin: two })
      const proof = proofMessage({ purpose: 'login', challenge: nonce, sshPublicKey: key, clientSpki: key })
      expect(toHex(action)).not.toBe(toHex(login))
      expect(toHex(proof).startsWith(toHex(utf8('\0\0\0\u000fkeyman-proof-v1')))).toBe(true)
    }),
  )
})
