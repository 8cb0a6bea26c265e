/**
 * The errors a person may meet: a closed union of stable codes. HTTP status, exit code of the programs and the title in
 * the API's answer are derived from this one table; `docs/errors.md` is made from it.
 * Exit codes: see the table in `shared/exit-codes.ts`. HTTP: RFC 9110. Shape of the answer: RFC 9457.
 */
export const ERRORS = {
  'invalid-input': { status: 400, exit: 2, title: 'The request is not valid' },
  'not-signed-in': { status: 401, exit: 3, title: 'Not signed in, or the session has ended' },
  denied: { status: 403, exit: 4, title: 'Denied' },
  'assertion-required': { status: 403, exit: 5, title: 'A touch of a passkey is needed' },
  'not-found': { status: 404, exit: 6, title: 'No such thing' },
  'method-not-allowed': { status: 405, exit: 1, title: 'There is another method at this address' },
  conflict: { status: 409, exit: 7, title: 'It exists already, or was changed meanwhile' },
  expired: { status: 410, exit: 1, title: 'It has ended or was used already' },
  'too-large': { status: 413, exit: 2, title: 'The request is too large' },
  'too-many-requests': { status: 429, exit: 1, title: 'Too many requests' },
  internal: { status: 500, exit: 1, title: 'Something went wrong in KeyMan' },
  unavailable: { status: 503, exit: 8, title: 'The server cannot do this now' },
} as const

export type ErrorCode = keyof typeof ERRORS

/**
 * One field that was refused: a JSON path such as `grants[0].login`, and what is wrong with it. Never holds a secret value.
 * `hint`: what to do about this one, where several are told.
 */
export type FieldError = { field: string; message: string; hint?: string }

export type ErrorDetails = {
  /** What to do next, one sentence, no full stop. */
  hint?: string
  fields?: FieldError[]
  /** For `assertion-required`: the transaction that a passkey has to confirm, and the page where that is done. */
  transaction?: { id: string; url: string }
  /** For `unavailable` and `too-many-requests`: seconds. */
  retryAfter?: number
  cause?: unknown
}

/** The only error class that crosses a room's border. `message` is for a person: what happened and why, with names and values, never a secret. */
export class KeymanError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly fields: FieldError[]
  readonly transaction: { id: string; url: string } | undefined
  readonly retryAfter: number | undefined

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'KeymanError'
    this.code = code
    this.hint = details.hint
    this.fields = details.fields ?? []
    this.transaction = details.transaction
    this.retryAfter = details.retryAfter
  }
}

/** `invalid-input` that names one field. */
export function invalid(field: string, message: string, hint?: string): KeymanError {
  return new KeymanError('invalid-input', `${field}: ${message}`, {
    fields: [{ field, message }],
    ...(hint === undefined ? {} : { hint }),
  })
}
