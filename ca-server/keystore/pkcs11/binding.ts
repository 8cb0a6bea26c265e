import { existsSync } from 'node:fs'
import type * as pkcs11js from 'pkcs11js'
import { KeymanError } from '#shared/errors.ts'
import { unavailable } from '../port.ts'
import { CKR } from './constants.ts'
import { type Field, meaningOf } from './in-words.ts'

/** The native module and its errors: the only file that loads pkcs11js. Handles are Buffers, as pkcs11js has them. */
export type Cryptoki = pkcs11js.PKCS11
export type Handle = pkcs11js.Handle
export type Template = pkcs11js.Template
export type Mechanism = pkcs11js.Mechanism

/** Loads the module, without C_Initialize. Throws `unavailable` that says what is not installed. */
export async function loadCryptoki(path: string): Promise<Cryptoki> {
  const binding = await import('pkcs11js').catch((cause: unknown) => {
    throw unavailable('PKCS#11 needs the package pkcs11js with its native part, which is not installed', {
      hint: 'in a clone: install a C++ compiler (apt-get install g++), then node scripts/build-pkcs11.mjs; the tarballs for macOS have none',
      cause,
    })
  })
  // A CommonJS module whose names are made at run time: Node offers them as `default` only.
  const cryptoki = new binding.default.PKCS11()
  try {
    cryptoki.load(path)
  } catch (cause) {
    throw blame('module', `the PKCS#11 module ${path} can't be loaded: ${whyNotLoaded(path, cause)}`, {
      hint: 'set keystore.module to the library that came with the HSM (SoftHSM: libsofthsm2.so)',
      cause,
    })
  }
  return cryptoki
}

/** What dlopen(3) says, in words: its own are the loader's. */
function whyNotLoaded(path: string, error: unknown): string {
  if (!existsSync(path)) return 'there is no such file'
  const said = error instanceof Error ? error.message : ''
  const [, missing] = /^(\S+): cannot open shared object file: No such file/.exec(said) ?? []
  if (missing !== undefined && missing !== path) return `it needs the library ${missing}, which is not installed`
  if (/cannot open shared object file: Permission denied/.test(said)) return 'this user may not read it'
  if (/invalid ELF header|file too short|wrong ELF class|not a mach-o file|incompatible arch/i.test(said))
    return 'it is no library for this machine'
  if (/C_GetFunctionList/.test(said)) return 'it is a library, but no PKCS#11 module'
  return 'the system refuses it'
}

/** `unavailable` that names the setting below `keystore` which is to blame. */
export const blame = (
  field: Field,
  message: string,
  details: { hint?: string; retryAfter?: number; cause?: unknown } = {},
): KeymanError => new KeymanError('unavailable', message, { ...details, fields: [{ field, message }] })

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

/** What crosses the room's border: a KeymanError stays; all else is `unavailable`, in words, with the CK_RV's number for manuals. */
export function normalise(error: unknown, doing: string): KeymanError {
  if (error instanceof KeymanError) return error
  const code = ckrOf(error)
  const { what, hint, field } = meaningOf(code)
  const number = code === undefined ? '' : `, CK_RV 0x${code.toString(16)}`
  const details = { hint, cause: error, ...(isLost(error) ? { retryAfter: 1 } : {}) }
  const message = `${what} (${doing}${number})`
  return field === undefined ? unavailable(message, details) : blame(field, message, details)
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
