import { randomBytes } from 'node:crypto'
import { doesNotOpen, joinSealed, NONCE_BYTES, splitSealed, TAG_BYTES } from '../sealed.ts'
import { type Cryptoki, ckrOf, type Handle, type Mechanism, onThread } from './binding.ts'
import { CKM, CKR, PARAMS_AES_GCM_V240 } from './constants.ts'

/** AES-256-GCM by a key on the token (PKCS#11 v2.40 mechanisms, section 2.12.1). Same bytes as `sealed.ts` makes. */

function gcm(nonce: Uint8Array, associatedData: Uint8Array): Mechanism {
  const parameter = {
    type: PARAMS_AES_GCM_V240,
    iv: Buffer.from(nonce),
    ivBits: NONCE_BYTES * 8,
    aad: Buffer.from(associatedData),
    tagBits: TAG_BYTES * 8,
  }
  return { mechanism: CKM.AES_GCM, parameter }
}

export async function encrypt(
  cryptoki: Cryptoki,
  session: Handle,
  key: Handle,
  plaintext: Uint8Array,
  associatedData: Uint8Array,
): Promise<Uint8Array> {
  const nonce = randomBytes(NONCE_BYTES)
  const input = Buffer.from(plaintext)
  cryptoki.C_EncryptInit(session, gcm(nonce, associatedData), key)
  const output = Buffer.alloc(input.length + TAG_BYTES)
  const encrypted = await onThread(input, done => cryptoki.C_Encrypt(session, input, output, done))
  input.fill(0)
  return joinSealed(nonce, encrypted)
}

/** Throws `denied` where it does not open, else what the module threw. */
export async function decrypt(
  cryptoki: Cryptoki,
  session: Handle,
  key: Handle,
  wrapped: Uint8Array,
  associatedData: Uint8Array,
): Promise<Uint8Array> {
  const { nonce, ciphertextAndTag } = splitSealed(wrapped)
  const input = Buffer.from(ciphertextAndTag)
  const output = Buffer.alloc(input.length)
  cryptoki.C_DecryptInit(session, gcm(nonce, associatedData), key)
  try {
    return await onThread(input, done => cryptoki.C_Decrypt(session, input, output, done))
  } catch (error) {
    const code = ckrOf(error) ?? -1
    if (DOES_NOT_OPEN.has(code)) throw doesNotOpen(error)
    // SoftHSM says CKR_GENERAL_ERROR to a wrong tag, as others say to a token that went away. The key tells which: whoever
    // sends us a changed ciphertext must not make us log in anew.
    if (code === CKR.GENERAL_ERROR && (await works(cryptoki, session, key))) throw doesNotOpen(error)
    throw error
  } finally {
    output.fill(0)
  }
}

const DOES_NOT_OPEN: ReadonlySet<number> = new Set([
  CKR.ENCRYPTED_DATA_INVALID,
  CKR.ENCRYPTED_DATA_LEN_RANGE,
  CKR.AEAD_DECRYPT_FAILED,
])

const works = (cryptoki: Cryptoki, session: Handle, key: Handle): Promise<boolean> =>
  encrypt(cryptoki, session, key, new Uint8Array(16), new Uint8Array(0)).then(
    () => true,
    () => false,
  )
