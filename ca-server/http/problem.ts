import { StoreError } from '#server/store/index.ts'
import { ERRORS, KeymanError } from '#shared/errors.ts'

/** Refusals as problem documents (RFC 9457). `type` is relative: it names the entry of `docs/errors.md`, wherever that is served. */

/** What a stranger may see of an error: our own errors as they are, that the database is away, of any other nothing but that it happened. */
export function asKeymanError(error: unknown): KeymanError {
  if (error instanceof KeymanError) return error
  if (error instanceof StoreError && (error.kind === 'retryable' || error.kind === 'ambiguous'))
    return new KeymanError('unavailable', 'the database can not be asked now', { retryAfter: 1, cause: error })
  return new KeymanError('internal', 'something went wrong in KeyMan; the server logged it with this request ID', {
    cause: error,
  })
}

/** Body and status of the answer, for whoever writes it. */
export function problemDocument(error: KeymanError, requestId: string): { status: number; body: string } {
  const { status, title } = ERRORS[error.code]
  const { code, message, hint, fields, transaction, retryAfter } = error
  const body = {
    type: `/errors/${code}`,
    title,
    status,
    detail: message,
    code,
    hint,
    ...(fields.length > 0 ? { fields } : {}),
    transaction,
    requestId,
    retryAfter,
  }
  // JSON.stringify leaves out what is undefined.
  return { status, body: JSON.stringify(body) }
}

export function problemHeaders(error: KeymanError): Record<string, string> {
  return {
    'content-type': 'application/problem+json',
    ...(error.retryAfter === undefined ? {} : { 'retry-after': String(Math.ceil(error.retryAfter)) }),
  }
}

/** The same as a `Response`. An error that is none of ours becomes `internal`. */
export function problem(error: unknown, requestId: string): Response {
  const ours = asKeymanError(error)
  const { status, body } = problemDocument(ours, requestId)
  return new Response(body, { status, headers: problemHeaders(ours) })
}
