import type { KeyObject } from 'node:crypto'
import { concat, fromBase64Url } from '../bytes.ts'
import { publicKeyFromSpki, type SshPublicKey } from './public-key.ts'
import { SshWriter } from './wire.ts'

/** Pure: a private key in SSH's words, as key files (PROTOCOL.key) and messages to an agent (draft-ietf-sshm-ssh-agent) hold it. */
export type PrivateFields = {
  readonly publicKey: SshPublicKey
  /** Between the type and the comment. */
  readonly plain: Uint8Array
  /** The same behind a certificate, which holds the public numbers itself. */
  readonly behindCertificate: Uint8Array
}

/** Of an Ed25519, P-256 or RSA key. Throws a TypeError for others. */
export function privateFields(privateKey: KeyObject, publicSpki: Uint8Array): PrivateFields {
  const publicKey = publicKeyFromSpki(publicSpki)
  const jwk = privateKey.export({ format: 'jwk' })
  const number = (name: 'd' | 'p' | 'q' | 'qi') => {
    const text = jwk[name]
    if (text === undefined) throw new TypeError('a private key without its private numbers')
    return fromBase64Url(text)
  }
  switch (publicKey.type) {
    case 'ssh-ed25519': {
      const both = new SshWriter()
        .string(publicKey.point)
        .string(concat(number('d'), publicKey.point))
        .bytes()
      return { publicKey, plain: both, behindCertificate: both }
    }
    case 'ecdsa-sha2-nistp256': {
      const d = new SshWriter().mpint(number('d')).bytes()
      const plain = new SshWriter().string(publicKey.curve).string(publicKey.point).raw(d).bytes()
      return { publicKey, plain, behindCertificate: d }
    }
    case 'ssh-rsa': {
      const { modulus, exponent } = publicKey
      const rest = new SshWriter().mpint(number('d')).mpint(number('qi')).mpint(number('p')).mpint(number('q')).bytes()
      return {
        publicKey,
        plain: new SshWriter().mpint(modulus).mpint(exponent).raw(rest).bytes(),
        behindCertificate: rest,
      }
    }
    default:
      throw new TypeError(`${publicKey.type} is no key of a session`)
  }
}
