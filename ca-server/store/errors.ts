import { KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'

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
  /** For whoever configures the server: what `told` says of it. */
  readonly inWords: KeymanError | undefined

  constructor(
    kind: StoreErrorKind,
    message: string,
    details: { constraint?: string; code?: string; inWords?: KeymanError } = {},
  ) {
    super(message)
    this.inWords = details.inWords
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

/** The driver's own errors that have no code, by their words; `pg` is pinned, and tests meet each of them. */
const DRIVER: readonly (readonly [RegExp, { what: string; hint: string }])[] = [
  [
    /client password must be a (non-empty )?string/,
    {
      what: 'the database asks for a password, and none is set',
      hint: 'name a file that holds it as database.password_file',
    },
  ],
  [
    /does not support SSL/,
    { what: 'the database has no TLS', hint: 'set ssl = on there, or let database.url say sslmode=prefer' },
  ],
  [
    /timeout expired|connection timeout/i,
    { what: 'the database did not answer in time', hint: 'see whether it runs, and what lies between' },
  ],
  [
    /establishing an SSL connection|Connection terminated|SASL|Received unexpected/,
    {
      what: 'what answers there does not go on as PostgreSQL does',
      hint: 'see whether the address is that of PostgreSQL, and its own log at this moment',
    },
  ],
]

/** libpq's `prefer` goes on without TLS then. */
export const hasNoTls = (error: unknown): boolean =>
  error instanceof Error && /does not support SSL/.test(error.message)

type At = { readonly host: string; readonly port: number }

/** What it stands for, for a person; without the driver's error as a cause. */
function inWordsOf(error: Error, at: At | undefined): KeymanError {
  const code = text(error, 'code')
  const byWords = code === undefined ? DRIVER.find(([words]) => words.test(error.message))?.[1] : undefined
  const noSocket = at?.host.startsWith('/') === true && code === 'ENOENT'
  const { what, hint } = noSocket
    ? { what: 'no PostgreSQL has its socket there', hint: 'see whether it runs, and unix_socket_directories' }
    : (byWords ?? { what: told(error).message, hint: told(error).hint })
  const where = at === undefined ? '' : `${at.host} port ${at.port}: `
  return new KeymanError('unavailable', `${where}${what}`, hint === undefined ? {} : { hint })
}

/**
 * Translates what a driver threw; to be called around the driver's calls only. Errors of ours pass unchanged. `at`: the host
 * that was tried.
 */
export function classify(error: unknown, stage: Stage, at?: At): unknown {
  if (error instanceof StoreError || error instanceof KeymanError || !(error instanceof Error)) return error
  const code = text(error, 'code')
  const inWords = inWordsOf(error, at)
  const details = { inWords, ...(code === undefined ? {} : { code }) }
  const number = code === undefined ? '' : ` (${code})`
  const isDatabase = code !== undefined && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)
  if (stage === 'connecting') {
    const later = !isDatabase || GONE.test(code) || RETRYABLE.has(code)
    return new StoreError(later ? 'retryable' : 'fatal', `${inWords.message}${number}`, details)
  }
  if (!isDatabase || GONE.test(code)) {
    // An own write and a COMMIT may have been carried out although the answer never came.
    const unknown = stage === 'writing' || stage === 'committing'
    const during = unknown ? ` while ${stage}` : ''
    return new StoreError(
      unknown ? 'ambiguous' : 'retryable',
      `the connection to the database broke${during}${number}`,
      details,
    )
  }
  if (RETRYABLE.has(code)) return new StoreError('retryable', `the database asks to try again${number}`, details)
  const kind = CONSTRAINTS[code]
  if (kind) {
    const constraint = text(error, 'constraint') ?? text(error, 'column') ?? 'unnamed'
    return new StoreError(kind, `the database refused a row by its constraint ${constraint}`, {
      ...details,
      constraint,
    })
  }
  const names = NAMES_ONLY.test(code) ? `: ${error.message}` : ''
  return new StoreError('fatal', `${inWords.message}${number}${names}`, details)
}

export const deadlineError = (what: string, milliseconds: number, stage: Stage): StoreError =>
  new StoreError(
    stage === 'writing' || stage === 'committing' ? 'ambiguous' : 'retryable',
    `${what} took longer than ${milliseconds} ms`,
    { code: 'DEADLINE' },
  )
