import { StoreError } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'

/** What a person or session may do has changed since it was decided: load anew, decide anew. Not a denial. Nothing was recorded. */
export class EpochsChanged extends Error {
  constructor() {
    super('what the decision was made from has changed meanwhile')
    this.name = 'EpochsChanged'
  }
}

export const proofUsed = (): KeymanError => new KeymanError('expired', 'this request was used already')
export const requestUsed = (): KeymanError =>
  new KeymanError('conflict', 'a record with this request ID and kind exists already')
export const busy = (): KeymanError =>
  new KeymanError('unavailable', 'the audit log has more to write than it can take at the moment', { retryAfter: 1 })

/** What the log's own rows and signatures contradict: nothing more is signed, and a server does not start on it. */
export const tampered = (message: string, cause?: unknown): KeymanError =>
  new KeymanError('internal', message, {
    hint: 'somebody changed the database: run keyman audit verify and keep the database as it is',
    ...(cause === undefined ? {} : { cause }),
  })

/** The store's errors become the ledger's; others pass. */
export function translate(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error
  if (error.kind === 'unique') {
    if (error.constraint === 'ledger_record_proof') return proofUsed()
    if (error.constraint === 'ledger_record_request') return requestUsed()
    if (error.constraint === 'issued_certificate_serial')
      return new KeymanError('internal', 'a serial was given twice: nothing was issued', { cause: error })
  }
  return error.kind === 'retryable' || error.kind === 'ambiguous'
    ? new KeymanError('unavailable', 'the audit log can not be written to now', { retryAfter: 1, cause: error })
    : new KeymanError('internal', 'the audit log refused a record', { cause: error })
}
