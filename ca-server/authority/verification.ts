import { type KeyObject, verify } from 'node:crypto'

/** Pure: whether a signature is one by this key over these bytes. */
export type Verification = {
  readonly algorithm: 'ed25519' | 'ecdsa-p256'
  readonly publicKey: KeyObject
  readonly data: Uint8Array
  /** Raw: Ed25519 64 bytes, ECDSA r || s (IEEE P1363). */
  readonly signature: Uint8Array
}

export const isValid = ({ algorithm, publicKey, data, signature }: Verification): boolean =>
  algorithm === 'ed25519'
    ? verify(undefined, data, publicKey, signature)
    : verify('sha256', data, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)
