import { createHash } from 'node:crypto'
import { toBase64Url, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'

type Random = (bytes: number) => Uint8Array

/** 256 random bits in base64url, with what is stored of them: a hash without salt is enough for what cannot be guessed. */
export function newSecret(random: Random): { readonly text: string; readonly hash: Uint8Array } {
  const text = toBase64Url(random(32))
  return { text, hash: hashSecret(text) }
}

/** SHA-256. What was hashed is looked up or compared by its hash, so that time tells nothing of the secret. */
export const hashSecret = (text: string): Uint8Array => sha256(utf8(text))

export const sha256 = (bytes: Uint8Array): Uint8Array => Uint8Array.from(createHash('sha256').update(bytes).digest())

/** `login_…` with 128 random bits: nobody guesses a transaction. */
export const newId = (prefix: string, random: Random): string => `${prefix}_${toBase64Url(random(16))}`

/** Lower case and short, because a session's ID stands in key IDs (128 characters in all); it is no secret. 80 random bits. */
export const newSessionId = (random: Random): string =>
  `session_${letters(random(16), 'abcdefghijklmnopqrstuvwxyz234567')}`

// RFC 8628 section 6.1: no vowels, so no words, and nothing that is read for something else.
const USER_CODE = 'BCDFGHJKLMNPQRSTVWXZ'

/** Eight letters, 34 bits; shown as XXXX-XXXX. */
export function newUserCode(random: Random): string {
  let code = ''
  // Bytes from 240 on are thrown away: 256 is no multiple of 20.
  while (code.length < 8)
    code += letters(
      random(16).filter(byte => byte < 240),
      USER_CODE,
    )
  return code.slice(0, 8)
}

export const showUserCode = (code: string): string => `${code.slice(0, 4)}-${code.slice(4)}`

/** What a person typed; case, blanks and dashes do not matter. Throws `not-found`, the same as for a code that is none. */
export function parseUserCode(typed: string): string {
  const code = typed.toUpperCase().replace(/[\s-]/g, '')
  if (code.length !== 8 || [...code].some(letter => !USER_CODE.includes(letter))) throw noSuchCode()
  return code
}

export const noSuchCode = (): KeymanError =>
  new KeymanError('not-found', 'no login is waiting for this code', {
    hint: 'compare it with what your own terminal shows; a code is good for five minutes',
  })

const letters = (bytes: Uint8Array, alphabet: string): string =>
  Array.from(bytes, byte => alphabet[byte % alphabet.length]).join('')
