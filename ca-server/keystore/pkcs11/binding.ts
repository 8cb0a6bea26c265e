import type * as pkcs11js from 'pkcs11js'
import { KeymanError } from '#shared/errors.ts'
import { unavailable } from '../port.ts'

/** The native module and its errors: the only file that loads pkcs11js. Handles are Buffers, as pkcs11js has them. */
export type Cryptoki = pkcs11js.PKCS11
export type Handle = pkcs11js.Handle
export type Template = pkcs11js.Template
export type Mechanism = pkcs11js.Mechanism

/** Loads the module, without C_Initialize. Throws `unavailable` that says what is not installed. */
export async function loadCryptoki(path: string): Promise<Cryptoki> {
  const binding = await import('pkcs11js').catch((cause: unknown) => {
    throw unavailable('PKCS#11 needs the package pkcs11js with its native part, which is not installed', {
      hint: 'install a C++ compiler (apt-get install g++), then run: npm install && node scripts/build-pkcs11.mjs',
      cause,
    })
  })
  // A CommonJS module whose names are made at run time: Node offers them as `default` only.
  const cryptoki = new binding.default.PKCS11()
  try {
    cryptoki.load(path)
  } catch (cause) {
    throw unavailable(`the PKCS#11 module ${path} can't be loaded`, { hint: 'check keystore.module', cause })
  }
  return cryptoki
}

/** CK_RV of PKCS#11 v3.1 that something here depends on. */
export const CKR = {
  GENERAL_ERROR: 5,
  ATTRIBUTE_VALUE_INVALID: 19,
  DEVICE_ERROR: 48,
  DEVICE_REMOVED: 50,
  AEAD_DECRYPT_FAILED: 66,
  ENCRYPTED_DATA_INVALID: 64,
  ENCRYPTED_DATA_LEN_RANGE: 65,
  KEY_HANDLE_INVALID: 96,
  OBJECT_HANDLE_INVALID: 130,
  OPERATION_ACTIVE: 144,
  PIN_INCORRECT: 160,
  PIN_INVALID: 161,
  PIN_LEN_RANGE: 162,
  PIN_LOCKED: 164,
  SESSION_CLOSED: 176,
  SESSION_HANDLE_INVALID: 179,
  TOKEN_NOT_PRESENT: 224,
  USER_ALREADY_LOGGED_IN: 256,
  USER_NOT_LOGGED_IN: 257,
  USER_PIN_NOT_INITIALIZED: 258,
  CRYPTOKI_NOT_INITIALIZED: 400,
  CRYPTOKI_ALREADY_INITIALIZED: 401,
} as const

/**
 * The CK_RV of whatever pkcs11js throws: an error with `code`, or a plain one whose message begins `CKR_NAME:code`.
 * `undefined` where it is none. Nothing else of an error is ever looked at: names and methods differ between modules.
 */
export function ckrOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  if ('code' in error && typeof error.code === 'number' && error.code !== 0) return error.code
  const match = /CKR_[A-Z0-9_]+:(\d+)/.exec(error.message)
  return match ? Number(match[1]) : undefined
}

const LOST: ReadonlySet<number> = new Set([
  CKR.GENERAL_ERROR,
  CKR.DEVICE_ERROR,
  CKR.DEVICE_REMOVED,
  CKR.KEY_HANDLE_INVALID,
  CKR.OBJECT_HANDLE_INVALID,
  CKR.OPERATION_ACTIVE,
  CKR.SESSION_CLOSED,
  CKR.SESSION_HANDLE_INVALID,
  CKR.TOKEN_NOT_PRESENT,
  CKR.USER_NOT_LOGGED_IN,
  // SoftHSM, where another process was just writing the token's file as this one read it: it keeps what it has read.
  CKR.USER_PIN_NOT_INITIALIZED,
  CKR.CRYPTOKI_NOT_INITIALIZED,
])

/** Session, login, token or module are gone: only finalize, initialize, login help. */
export const isLost = (error: unknown): boolean => LOST.has(ckrOf(error) ?? -1)

const WRONG_PIN: ReadonlySet<number> = new Set([CKR.PIN_INCORRECT, CKR.PIN_INVALID, CKR.PIN_LEN_RANGE, CKR.PIN_LOCKED])
export const isWrongPin = (error: unknown): boolean => WRONG_PIN.has(ckrOf(error) ?? -1)

/** What crosses the room's border: a KeymanError stays; all else is `unavailable` with the CK_RV's number. */
export function normalise(error: unknown, doing: string): KeymanError {
  if (error instanceof KeymanError) return error
  const code = ckrOf(error)
  const hex = code === undefined ? '' : ` (CK_RV 0x${code.toString(16)})`
  const retry = isLost(error) ? { retryAfter: 1 } : {}
  return unavailable(`the PKCS#11 module failed at ${doing}${hex}`, { cause: error, ...retry })
}

/**
 * One call on a thread of libuv. pkcs11js hands it bare pointers into its buffers; the output it holds itself, the input
 * must be held until the call has settled, or the garbage collector may take it meanwhile. Rejects with what the module
 * said. (By its callback: on the hot path its promise costs more.)
 */
export async function onThread(
  input: Buffer,
  start: (done: (error: Error | null, output: Buffer) => void) => void,
): Promise<Uint8Array> {
  held.add(input)
  try {
    return await new Promise((resolve, reject) => {
      start((error, output) => (error ? reject(error) : resolve(new Uint8Array(output))))
    })
  } finally {
    held.delete(input)
  }
}
const held = new Set<Buffer>()
