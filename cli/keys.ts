import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { fromBase64Url, toBase64 } from '#shared/bytes.ts'
import { PROOF_NAMESPACE, type ProofPurpose, proofMessage } from '#shared/login-challenge.ts'
import {
  armorSshsig,
  encodeOpensshPrivateKey,
  encodeSignature,
  encodeSshsig,
  formatPublicKey,
  publicKeyFromSpki,
  type SshPublicKey,
  sshsigSignedData,
} from '#shared/ssh/index.ts'

/** The two keys of one session, made on this machine: the SSH key, and the client certificate's own (invariant 7). */
export type LoginKeys = {
  readonly ssh: {
    readonly privateKey: KeyObject
    readonly seed: Uint8Array
    readonly publicKey: SshPublicKey
    readonly line: string
    readonly comment: string
  }
  readonly client: { readonly privateKey: KeyObject; readonly spki: Uint8Array; readonly pem: string }
}

/** Ed25519 for SSH, P-256 for TLS. `comment` marks the key as ours in an ssh-agent. */
export function makeLoginKeys(comment: string): LoginKeys {
  const ssh = generateKeyPairSync('ed25519')
  const client = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { d } = ssh.privateKey.export({ format: 'jwk' })
  if (!d) throw new Error('an Ed25519 key without its private part')
  const publicKey = publicKeyFromSpki(ssh.publicKey.export({ format: 'der', type: 'spki' }))
  return {
    ssh: {
      privateKey: ssh.privateKey,
      seed: fromBase64Url(d),
      publicKey,
      line: formatPublicKey(publicKey, comment),
      comment,
    },
    client: {
      privateKey: client.privateKey,
      spki: client.publicKey.export({ format: 'der', type: 'spki' }),
      pem: client.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    },
  }
}

/** What marks a key in an ssh-agent as ours, and whose. */
export const agentComment = (organisation: string): string => `keyman:${organisation}`

/** The SSH key as a file that `ssh` reads. */
export const privateKeyFile = (keys: LoginKeys): string =>
  encodeOpensshPrivateKey({ seed: keys.ssh.seed, comment: keys.ssh.comment })

/** Shows that this machine holds both keys, for one challenge (base64url) and one purpose. */
export function proveBoth(keys: LoginKeys, purpose: ProofPurpose, challenge: string) {
  const message = proofMessage({
    purpose,
    challenge: fromBase64Url(challenge),
    sshPublicKey: keys.ssh.publicKey.blob,
    clientSpki: keys.client.spki,
  })
  const signature = encodeSignature(
    keys.ssh.publicKey,
    sign(null, sshsigSignedData(PROOF_NAMESPACE, message), keys.ssh.privateKey),
  )
  return {
    challenge,
    sshSignature: armorSshsig(encodeSshsig({ publicKey: keys.ssh.publicKey, namespace: PROOF_NAMESPACE, signature })),
    clientSignature: toBase64(sign('sha256', message, { key: keys.client.privateKey, dsaEncoding: 'ieee-p1363' })),
  }
}
