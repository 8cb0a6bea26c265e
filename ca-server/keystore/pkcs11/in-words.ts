import { CKR } from './constants.ts'

/**
 * Pure: what a module's answer means, for whoever configures the server: in words, with the setting and the next step. The
 * codes of PKCS#11 v3.1 that the calls made here may get; `field` is the setting below `keystore`, where one is to blame.
 */
export type Meaning = { readonly what: string; readonly hint: string; readonly field?: Field }
export type Field = 'module' | 'token' | 'pin' | 'sessions' | 'library_parameters' | 'algorithm'

const OWN_LOG = "see the module's own log, and whether the server's user may read and write where it keeps its tokens"
const HSM = 'see whether the HSM runs, and what lies between; its own log says more'
const BEGIN_ANEW = 'restart the server; if it comes again, report it with the name and version of the module'
const ALGORITHM =
  "set authority.algorithm to one that the token makes (ed25519, ecdsa-p256); the vendor's manual says which"
const POLICY = "see the token's policy in its vendor's manual: KeyMan's keys are private, sensitive and not extractable"

const algorithm = (what: string): Meaning => ({ what, hint: ALGORITHM, field: 'algorithm' })
const lost = (what: string): Meaning => ({ what, hint: HSM })
const refusedKey: Meaning = { what: 'the token refuses a key as KeyMan wants it', hint: POLICY }
const notThere: Meaning = { what: 'the token is not there', hint: HSM, field: 'token' }

const MEANINGS: Readonly<Record<number, Meaning>> = {
  2: { what: 'the module has not enough memory', hint: 'give this machine, or the service, more memory' },
  3: lost('the slot of the token is gone'),
  [CKR.GENERAL_ERROR]: { what: 'the module failed and does not say why', hint: OWN_LOG },
  6: { what: 'the module failed and does not say why', hint: OWN_LOG },
  7: {
    what: 'the module does not take how it is called',
    hint: 'some modules want keystore.library_parameters (NSS softokn: configdir=…): see its manual',
    field: 'library_parameters',
  },
  9: { what: 'the module may not start threads of its own', hint: 'see its manual for a setting that lets it' },
  10: {
    what: 'the module can not be used by several threads',
    hint: 'ask its vendor for one that can',
    field: 'module',
  },
  16: refusedKey,
  17: refusedKey,
  18: refusedKey,
  [CKR.ATTRIBUTE_VALUE_INVALID]: refusedKey,
  33: algorithm('the token refuses the length of what is to be signed'),
  [CKR.DEVICE_ERROR]: lost('the HSM reports an error of its own'),
  49: { what: 'the token is full', hint: 'remove keys from it that nobody needs, or take a larger one' },
  [CKR.DEVICE_REMOVED]: lost('the HSM was removed, or is not reached'),
  84: {
    what: 'the module does not have a function that KeyMan needs',
    hint: 'see whether its vendor has a newer one: KeyMan wants PKCS#11 v2.40 or newer',
    field: 'module',
  },
  [CKR.KEY_HANDLE_INVALID]: { what: 'the token does not know the key any more', hint: BEGIN_ANEW },
  98: algorithm('the token refuses keys of this size'),
  99: algorithm('the token refuses this kind of key for this signature'),
  104: { what: 'the token does not let this key do that', hint: POLICY },
  112: algorithm('the token does not have this algorithm'),
  113: algorithm("the token refuses this algorithm's parameters"),
  [CKR.OBJECT_HANDLE_INVALID]: { what: 'the token does not know the key any more', hint: BEGIN_ANEW },
  [CKR.OPERATION_ACTIVE]: { what: 'the session is busy with something else', hint: BEGIN_ANEW },
  145: { what: 'the module lost what it was doing', hint: BEGIN_ANEW },
  163: {
    what: 'the PIN has expired',
    hint: "set a new one with the vendor's tool, then in keystore.pin_file",
    field: 'pin',
  },
  [CKR.SESSION_CLOSED]: lost('the module closed the session'),
  177: {
    what: 'the token gives no more sessions',
    hint: 'set keystore.sessions to fewer, and see what else uses the token',
    field: 'sessions',
  },
  [CKR.SESSION_HANDLE_INVALID]: lost('the module does not know the session any more'),
  181: { what: 'the token can only be read', hint: 'see whether it is write-protected: KeyMan makes its keys there' },
  208: refusedKey,
  209: refusedKey,
  [CKR.TOKEN_NOT_PRESENT]: notThere,
  225: notThere,
  226: { what: 'the token can only be read', hint: 'see whether it is write-protected: KeyMan makes its keys there' },
  [CKR.USER_NOT_LOGGED_IN]: lost('the token has forgotten the login'),
  [CKR.USER_PIN_NOT_INITIALIZED]: {
    what: 'the token has no PIN yet',
    hint: 'set one: pkcs11-tool --module MODULE --token-label TOKEN --login --login-type so --init-pin',
    field: 'pin',
  },
  259: {
    what: 'the token takes no login: it has no PIN, or wants another kind of user',
    hint: 'set a PIN on it as its manual says, then keystore.pin_file',
    field: 'pin',
  },
  260: { what: 'somebody else is logged in to the token', hint: 'see what else uses it', field: 'token' },
  304: algorithm('the token does not have this curve'),
  320: algorithm('the token does not have this curve'),
  [CKR.CRYPTOKI_NOT_INITIALIZED]: {
    what: 'the module has not been initialized',
    hint: `name the vendor's module itself as keystore.module, not a proxy before it; else ${BEGIN_ANEW}`,
    field: 'module',
  },
  512: { what: "the HSM's operator or policy has refused it", hint: POLICY },
}

const VENDOR_DEFINED = 0x8000_0000

/** `undefined`: what came was no CK_RV at all. */
export function meaningOf(code: number | undefined): Meaning {
  if (code === undefined) return { what: 'the module failed in a way that PKCS#11 does not know', hint: BEGIN_ANEW }
  const known = MEANINGS[code]
  if (known) return known
  return code >= VENDOR_DEFINED
    ? { what: "the module failed with a code of its vendor's", hint: "look the number up in the vendor's manual" }
    : {
        what: 'the module failed with a code that KeyMan does not know',
        hint: 'look the number up in PKCS#11 (pkcs11t.h)',
      }
}
