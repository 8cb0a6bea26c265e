import { z } from 'zod'
import { fromBase64Url, fromUtf8, toBase64Url, utf8 } from './bytes.ts'
import { KeymanError } from './errors.ts'
import { type HostName, isHostName, isWorkloadName, type WorkloadName } from './names.ts'

/**
 * Pure: a token, so that whoever enrols a host or begins the session of a workload types nothing else: a prefix that says which, and base64url
 * of JSON. Only `secret` goes to the server; `fingerprint` pins the root of trust before anything from the server is believed.
 */
type Token<Name extends string> = {
  /** The machines' address, `https://…`. */
  readonly url: string
  /** Of the root of trust, `SHA256:…`. */
  readonly fingerprint: string
  readonly name: Name
  /** 256 random bits in base64url. */
  readonly secret: string
}
export type JoinToken = Token<HostName>
export type WorkloadToken = Token<WorkloadName>

/** White space around a token is taken off when it is read. `parse` throws `invalid-input`, never with the token in the message. */
function tokens<Name extends string>(
  prefix: string,
  isName: (text: string) => text is Name,
  { what, hint }: { readonly what: string; readonly hint: string },
) {
  const schema = z.strictObject({
    url: z.url({ protocol: /^https$/ }).max(300),
    fingerprint: z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/),
    name: z.string().refine(isName),
    secret: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  })
  return {
    format: ({ url, fingerprint, name, secret }: Token<Name>): string =>
      prefix + toBase64Url(utf8(JSON.stringify({ url, fingerprint, name, secret }))),
    parse(text: string): Token<Name> {
      const trimmed = text.trim()
      try {
        if (trimmed.length > 2000 || !trimmed.startsWith(prefix)) throw new SyntaxError(`no ${what}`)
        return schema.parse(JSON.parse(fromUtf8(fromBase64Url(trimmed.slice(prefix.length)))))
      } catch {
        throw new KeymanError('invalid-input', `this is not a whole ${what} (it begins with ${prefix})`, {
          hint,
          fields: [{ field: 'token', message: `not a ${what}` }],
        })
      }
    },
  }
}

export const { format: formatJoinToken, parse: parseJoinToken } = tokens('keyman-join-v1.', isHostName, {
  what: 'join token',
  hint: 'copy the token again, or make a new one: keyman host remove NAME, then keyman host add NAME',
})
export const { format: formatWorkloadToken, parse: parseWorkloadToken } = tokens(
  'keyman-workload-v1.',
  isWorkloadName,
  {
    what: 'token of a workload',
    hint: 'copy the token again, or make a new one: keyman workload token NAME',
  },
)
