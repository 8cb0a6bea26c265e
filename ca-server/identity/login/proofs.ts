import { Buffer } from 'node:buffer'
import { createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto'
import { concat, fromBase64, fromBase64Url, toBase64Url, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { PROOF_NAMESPACE, proofMessage } from '#shared/login-challenge.ts'
import { parseSshsig, verifySshsig } from '#shared/ssh/index.ts'
import type { IdentityDeps, Proofs } from '../port.ts'

/** Seconds that a challenge is good. */
const GOOD_FOR = 120
/** Of another server's clock. */
const MAX_SKEW = 5
const RANDOM_BYTES = 16
const LENGTH = 8 + RANDOM_BYTES + 32

/**
 * Challenges for proofs of possession, stateless: time (8 bytes, milliseconds), 16 random bytes, HMAC-SHA256 of both. Nobody fills
 * anything by asking for them; that one is used once is the matter of a unique column where it is used.
 */
export function createProofs({ now, random }: Pick<IdentityDeps, 'now' | 'random'>, key: Uint8Array): Proofs {
  const mac = (content: Uint8Array): Uint8Array =>
    Uint8Array.from(createHmac('sha256', key).update(utf8('keyman-challenge-v1')).update(content).digest())

  /** Gives its ID, and its bytes. */
  function open(challenge: string): { id: string; bytes: Uint8Array } {
    const bytes = decode(challenge)
    const content = bytes.subarray(0, 8 + RANDOM_BYTES)
    if (bytes.length !== LENGTH || !timingSafeEqual(mac(content), bytes.subarray(8 + RANDOM_BYTES))) throw tooLate()
    const age = now().getTime() - Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0))
    if (age > GOOD_FOR * 1000 || age < -MAX_SKEW * 1000) throw tooLate()
    return { id: toBase64Url(content), bytes }
  }

  function checkSsh(parts: Parameters<Proofs['checkSsh']>[0]): { id: string; message: Uint8Array } {
    const { sshPublicKey, clientSpki, purpose } = parts
    const { id, bytes } = open(parts.challenge)
    const message = proofMessage({ purpose, challenge: bytes, sshPublicKey: sshPublicKey.blob, clientSpki })
    const signature = parseSshsig(parts.signature, 'sshSignature')
    if (!verifySshsig(signature, { namespace: PROOF_NAMESPACE, message, publicKey: sshPublicKey }))
      throw unproven('the SSH key')
    return { id, message }
  }

  return {
    challenge() {
      const content = concat(new Uint8Array(8), random(RANDOM_BYTES))
      new DataView(content.buffer).setBigUint64(0, BigInt(now().getTime()))
      return toBase64Url(concat(content, mac(content)))
    },
    checkSsh: parts => checkSsh(parts).id,
    checkBoth({ proof, ...parts }) {
      const { id, message } = checkSsh({ ...parts, challenge: proof.challenge, signature: proof.sshSignature })
      if (!verifyP256(parts.clientSpki, message, proof.clientSignature)) throw unproven('the client key')
      return id
    },
  }
}

function decode(challenge: string): Uint8Array {
  try {
    return fromBase64Url(challenge)
  } catch {
    throw tooLate()
  }
}

/** ECDSA over SHA-256, IEEE P1363, as base64. The caller has checked that the key is a P-256 key. */
function verifyP256(spki: Uint8Array, message: Uint8Array, signature: string): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
    return (
      key.asymmetricKeyDetails?.namedCurve === 'prime256v1' &&
      verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, fromBase64(signature))
    )
  } catch {
    return false
  }
}

const tooLate = (): KeymanError =>
  new KeymanError('expired', 'this challenge is not one of this server, or has ended', {
    hint: 'ask for a new one and try again within two minutes; is the clock right?',
  })
const unproven = (what: string): KeymanError =>
  new KeymanError('denied', `the proof that ${what} is held does not fit`, {
    hint: 'sign exactly this challenge, for this purpose, with both keys of this request',
  })
