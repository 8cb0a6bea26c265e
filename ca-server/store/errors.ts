import { KeymanError } from '#shared/errors.ts'

/**
 * What can go wrong with the database, as a closed union. The driver's own error never leaves this room, not even as a
 * `cause`: its text, detail and parameters carry values of rows.
 *
 * - `unique`, `foreign-key`, `check`: a constraint refused the row; `constraint` names it.
 * - `retryable`: nothing was written; the same call may be made again (deadlock, failover, connection cut before commit).
 * - `ambiguous`: the connection broke after the statement or COMMIT was sent: look the result up by its key first.
 * - `fatal`: a mistake of ours or of the set-up; trying again changes nothing.
 */
export type StoreErrorKind = 'unique' | 'foreign-key' | 'check' | 'retryable' | 'ambiguous' | 'fatal'

export class StoreError extends Error {
  readonly kind: StoreErrorKind
  /** The constraint that refused the row, as the migrations name it. */
  readonly constraint: string | undefined
  /** SQLSTATE (PostgreSQL, appendix A) or the system's error code such as `ECONNREFUSED`. */
  readonly code: string | undefined

  constructor(kind: StoreErrorKind, message: string, details: { constraint?: string; code?: string } = {}) {
    super(message)
    this.name = 'StoreError'
    this.kind = kind
    this.constraint = details.constraint
    this.code = details.code
  }
}

/** Where the failure happened decides whether something may have been written. */
export type Stage = 'connecting' | 'reading' | 'writing' | 'in transaction' | 'committing'

// PostgreSQL says with these that the statement or transaction was rolled back and may be tried again (appendix A).
const RETRYABLE = new Set([
  '0A000', // feature_not_supported: so it says of a statement that was prepared before a migration changed its columns
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '25006', // read_only_sql_transaction: the primary became a standby
  '25P03', // idle_in_transaction_session_timeout
  '53300', // too_many_connections
  '55P03', // lock_not_available
  '57014', // query_canceled: statement_timeout
])
// The backend goes away, or is not up: what was under way is rolled back, unless it was the commit itself.
const GONE = /^(57P0[1-5]|08...)$/
const CONSTRAINTS: Readonly<Record<string, StoreErrorKind>> = {
  '23505': 'unique',
  '23503': 'foreign-key',
  '23514': 'check',
  '23502': 'check', // not_null_violation
}
// Class 42 names tables, columns and functions, never values; 42601 (syntax_error) quotes the statement.
const NAMES_ONLY = /^42(?!601)/

const text = (from: object, key: string): string | undefined => {
  const value: unknown = Reflect.get(from, key)
  return typeof value === 'string' ? value : undefined
}

/** Translates what a driver threw; to be called around the driver's calls only. Errors of ours pass unchanged. */
export function classify(error: unknown, stage: Stage): unknown {
  if (error instanceof StoreError || error instanceof KeymanError || !(error instanceof Error)) return error
  const code = text(error, 'code')
  const isDatabase = code !== undefined && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)
  if (!isDatabase || GONE.test(code)) return connectionError(code, stage)
  if (RETRYABLE.has(code)) return new StoreError('retryable', `the database asks to try again (${code})`, { code })
  const kind = CONSTRAINTS[code]
  if (kind) {
    const constraint = text(error, 'constraint') ?? text(error, 'column') ?? 'unnamed'
    return new StoreError(kind, `the database refused a row by its constraint ${constraint}`, { code, constraint })
  }
  const names = NAMES_ONLY.test(code) ? `: ${error.message}` : ''
  return new StoreError('fatal', `the database refused a statement (${code})${names}`, { code })
}

function connectionError(code: string | undefined, stage: Stage): StoreError {
  const details = code === undefined ? {} : { code }
  const why = code === undefined ? '' : ` (${code})`
  if (stage === 'connecting') return new StoreError('retryable', `the database is not reached${why}`, details)
  // An own write and a COMMIT may have been carried out although the answer never came.
  if (stage === 'writing' || stage === 'committing')
    return new StoreError('ambiguous', `the connection to the database broke while ${stage}${why}`, details)
  return new StoreError('retryable', `the connection to the database broke${why}`, details)
}

export const deadlineError = (what: string, milliseconds: number, stage: Stage): StoreError =>
  new StoreError(
    stage === 'writing' || stage === 'committing' ? 'ambiguous' : 'retryable',
    `${what} took longer than ${milliseconds} ms`,
    { code: 'DEADLINE' },
  )
