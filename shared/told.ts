import { type ErrorCode, KeymanError } from './errors.ts'

/**
 * The one place where an error that a driver, a library or the system threw becomes one for a person: what happened, and what
 * to do. Their own words (`[object Object]`, SQLSTATEs, names of OpenSSL's routines) never go further, except to whoever asks
 * for them by KEYMAN_DEBUG=1. Errors of ours pass unchanged.
 */
export function told(error: unknown): KeymanError {
  if (error instanceof KeymanError) return error
  const one = firstOf(error)
  if (one instanceof KeymanError) return one
  // An error of a room that knows better what it stands for.
  if (one instanceof Error && 'inWords' in one && one.inWords instanceof KeymanError) return one.inWords
  const code = codeOf(one)
  const known = code === undefined ? undefined : (KNOWN[code] ?? byPattern(code))
  if (!known)
    return new KeymanError('internal', 'something happened that KeyMan does not expect', {
      hint: 'KEYMAN_DEBUG=1 shows what and where; please report it',
      cause: error,
    })
  const path = pathOf(one)
  return new KeymanError(known.code ?? 'unavailable', path === undefined ? known.what : `${path}: ${known.what}`, {
    hint: known.hint,
    cause: error,
  })
}

/** The same as one line. */
export function toldInLine(error: unknown): string {
  const { message, hint } = told(error)
  return hint === undefined ? message : `${message} (${hint})`
}

type Told = { readonly what: string; readonly hint: string; readonly code?: ErrorCode }

const NETWORK = 'see whether it still runs, and what lies between'
const FILE = 'see to whom it belongs and its mode, and run this as the user to whom it belongs'
const ROOT = "name its authority's certificate: of a database, as sslrootcert in database.url"
const KNOWN: Readonly<Record<string, Told>> = {
  // The system's (errno(3)), as Node names them.
  ECONNREFUSED: {
    what: 'nothing listens there',
    hint: 'see whether the server runs there, and whether the address is right',
  },
  ENOTFOUND: { what: 'its name does not resolve', hint: "see whether it is spelled right, and this machine's DNS" },
  EAI_AGAIN: { what: 'its name does not resolve', hint: "see whether it is spelled right, and this machine's DNS" },
  ETIMEDOUT: { what: 'it did not answer in time', hint: NETWORK },
  ECONNRESET: { what: 'the connection was cut', hint: NETWORK },
  EPIPE: { what: 'the connection was cut', hint: NETWORK },
  EHOSTUNREACH: { what: 'there is no way to it', hint: "see this machine's network, and what lies between" },
  ENETUNREACH: { what: 'there is no way to it', hint: "see this machine's network, and what lies between" },
  EADDRINUSE: { what: 'another program listens there', hint: 'end it, or choose another address' },
  EACCES: { what: 'this user may not do that', hint: FILE, code: 'denied' },
  EPERM: { what: 'this user may not do that', hint: FILE, code: 'denied' },
  ENOENT: { what: 'there is no such file', hint: 'see whether the path is right', code: 'not-found' },
  ENOTDIR: { what: 'a part of the path is no folder', hint: 'see whether the path is right', code: 'not-found' },
  EISDIR: { what: 'it is a folder', hint: 'see whether the path is right', code: 'invalid-input' },
  ENOSPC: { what: 'the disk is full', hint: 'make room, and try again' },
  EDQUOT: { what: 'the quota of this user is used up', hint: 'make room, and try again' },
  EROFS: { what: 'it can only be read', hint: 'choose another place, or mount it for writing' },
  EMFILE: { what: 'too many files are open', hint: 'raise the limit of open files (ulimit -n)' },
  ENFILE: { what: 'too many files are open on this machine', hint: 'see what opens them' },
  // TLS.
  EPROTO: {
    what: 'it does not speak TLS as KeyMan does',
    hint: "is this the address of the pages? The machines' address is printed at the server's start",
  },
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: {
    what: 'the private key does not belong to the certificate',
    hint: 'name the two files that were made together',
    code: 'invalid-input',
  },
  ERR_OSSL_PEM_NO_START_LINE: {
    what: 'a file that should hold a key or certificate in PEM holds none',
    hint: 'see whether the right file is named',
    code: 'invalid-input',
  },
  DEPTH_ZERO_SELF_SIGNED_CERT: { what: 'nobody who is believed vouches for its certificate', hint: ROOT },
  SELF_SIGNED_CERT_IN_CHAIN: { what: 'nobody who is believed vouches for its certificate', hint: ROOT },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: { what: 'nobody who is believed vouches for its certificate', hint: ROOT },
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: { what: 'nobody who is believed vouches for its certificate', hint: ROOT },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    what: 'its certificate is for another name',
    hint: 'see whether the name in the address is right, and which the certificate has',
  },
  CERT_NOT_YET_VALID: { what: 'its certificate is not good yet', hint: "look whether this machine's clock is right" },
  CERT_HAS_EXPIRED: { what: 'its certificate has ended', hint: "look whether this machine's clock is right" },
  // PostgreSQL's (appendix A).
  '0A000': { what: 'the database does not know how to do that', hint: 'KeyMan wants PostgreSQL 15 or newer' },
  '0LP01': {
    what: "the database does not let the server's user give that right",
    hint: 'see docs/install.md: its SQL',
  },
  '25006': { what: 'the database can only be read: it is a standby', hint: 'let database.url lead to the primary' },
  '28000': {
    what: 'the database does not let this user in from here',
    hint: 'see the user in database.url, and pg_hba.conf of the database',
  },
  '28P01': {
    what: 'the database does not take the password, or has no such user',
    hint: 'see the user in database.url and database.password_file',
  },
  '3D000': {
    what: 'there is no such database',
    hint: 'create it as docs/install.md says, or see its name in database.url',
  },
  '3F000': { what: 'there is no such schema in the database', hint: 'see search_path of this user in the database' },
  '40001': { what: 'the database asks to try again', hint: 'try again' },
  '40P01': { what: 'the database asks to try again', hint: 'try again' },
  '42501': {
    what: "the database does not let the server's user do that",
    hint: 'give it the rights that docs/install.md names, or set database.migration_url',
  },
  '42704': { what: 'a role or type is missing in the database', hint: 'see docs/install.md: its SQL makes the roles' },
  '53100': { what: "the database's disk is full", hint: 'make room there' },
  '53200': { what: 'the database has not enough memory', hint: 'see what else runs there, and its settings' },
  '53300': {
    what: 'the database takes no more connections',
    hint: 'see who holds them; max_connections of the database, or CONNECTION LIMIT of the user',
  },
  '54000': { what: "a limit of the database's is reached", hint: 'see its own log at this moment' },
  '55P03': { what: 'something else holds a lock in the database', hint: 'try again; see pg_stat_activity' },
  '57014': { what: 'the database broke it off, since it took too long', hint: 'try again; see what the database does' },
  '57P03': { what: 'the database is starting or stopping', hint: 'try again in a moment' },
  '58P01': { what: 'a file of the database is missing', hint: 'see its own log; it may need a backup' },
  XX001: { what: 'the data of the database are damaged', hint: 'put a backup back, and run keyman-server restore' },
  XX002: { what: 'an index of the database is damaged', hint: 'see REINDEX in its manual, and its own log' },
  '08P01': {
    what: 'what answers there does not take what PostgreSQL takes',
    hint: 'a pooler has to be in session mode; see its own log at this moment',
  },
  '42P01': { what: 'a table is missing in the database', hint: 'it may be of another release: see docs/server.md' },
  '42703': { what: 'a column is missing in the database', hint: 'it may be of another release: see docs/server.md' },
}

function byPattern(code: string): Told | undefined {
  if (/^ERR_(SSL|TLS|OSSL)_|CERT|SIGNATURE/.test(code))
    return {
      what: 'a key, a certificate or TLS itself could not be used',
      hint: 'see whether the right files are named, and whether the other side is who it should be',
    }
  if (/^(08|57P)/.test(code) && code.length === 5)
    return { what: 'the database is not reached', hint: 'see whether it runs, and database.url' }
  if (/^[0-9A-Z]{5}$/.test(code) && /[0-9]/.test(code))
    return { what: 'the database refused what it was asked', hint: 'see its own log at this moment' }
  return undefined
}

/** Of several attempts (one for each address of a name, say) the first says as much as all. */
function firstOf(error: unknown): unknown {
  if (error instanceof AggregateError && codeOf(error) === undefined) return firstOf(error.errors[0])
  // A StoreError and others keep what they stand for as their cause.
  if (error instanceof Error && codeOf(error) === undefined && error.cause !== undefined) return firstOf(error.cause)
  return error
}

function codeOf(error: unknown): string | undefined {
  const code: unknown = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : undefined
}

function pathOf(error: unknown): string | undefined {
  const path: unknown = typeof error === 'object' && error !== null && 'path' in error ? error.path : undefined
  return typeof path === 'string' ? path : undefined
}
