import { z } from 'zod'
import { fromBase64Url, fromUtf8, toBase64Url, utf8 } from './bytes.ts'
import { KeymanError } from './errors.ts'
import { isHostName } from './names.ts'

/**
 * Pure: a join token, so that whoever enrols a host types nothing else: `keyman-join-v1.` and base64url of JSON. Only
 * `secret` goes to the server; `fingerprint` pins the root of trust before anything from the server is believed.
 */
export type JoinToken = {
  /** The machines' address, `https://…`. */
  readonly url: string
  /** Of the root of trust, `SHA256:…`. */
  readonly fingerprint: string
  readonly name: string
  /** 256 random bits in base64url. */
  readonly secret: string
}

const PREFIX = 'keyman-join-v1.'
const schema = z.strictObject({
  url: z.url({ protocol: /^https$/ }).max(300),
  fingerprint: z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/),
  name: z.string().refine(isHostName),
  secret: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
})

export const formatJoinToken = (token: JoinToken): string =>
  PREFIX +
  toBase64Url(
    utf8(JSON.stringify({ url: token.url, fingerprint: token.fingerprint, name: token.name, secret: token.secret })),
  )

/** White space around the token is taken off. Throws `invalid-input`, never with the token in the message. */
export function parseJoinToken(text: string): JoinToken {
  const trimmed = text.trim()
  try {
    if (trimmed.length > 2000 || !trimmed.startsWith(PREFIX)) throw new SyntaxError('no join token')
    return schema.parse(JSON.parse(fromUtf8(fromBase64Url(trimmed.slice(PREFIX.length)))))
  } catch {
    throw new KeymanError('invalid-input', `this is not a whole join token (it begins with ${PREFIX})`, {
      hint: 'copy the token again, or make a new one: keyman host remove NAME, then keyman host add NAME',
      fields: [{ field: 'token', message: 'not a join token' }],
    })
  }
}
