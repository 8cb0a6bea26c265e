import { KeymanError } from '#shared/errors.ts'
import { backingOff } from './back-off.ts'
import { blame, type Cryptoki, ckrOf, type Handle, isWrongPin } from './binding.ts'
import { CKF, CKR, CKU_USER } from './constants.ts'

/** Finding the token, and logging in to it with a PIN that is tried once. */

const NO_TOKEN =
  "make one with the vendor's tool (SoftHSM: softhsm2-util --init-token, with the SOFTHSM2_CONF of the server)"
const LOCKED = "the token's security officer unlocks it with the vendor's tool"
const denied = (message: string, details: { hint: string; cause?: unknown }): KeymanError =>
  new KeymanError('denied', message, { ...details, fields: [{ field: 'pin', message }] })

/** The slot with the token of this label. Throws `unavailable` where there is none, or more than one. */
export function findSlot(cryptoki: Cryptoki, token: string): Handle {
  const labels: string[] = []
  const slots = cryptoki.C_GetSlotList(true).filter(slot => {
    const label = cryptoki.C_GetTokenInfo(slot).label.trimEnd() // padded with blanks to 32
    labels.push(label)
    return label === token
  })
  const [slot, second] = slots
  if (slot && !second) return slot
  if (second)
    throw blame('token', `the PKCS#11 module has more than one token with the label ${token}`, {
      hint: "give one of them another label with the vendor's tool",
    })
  const seen = labels.filter(label => label !== '').map(label => JSON.stringify(label))
  throw blame('token', `the PKCS#11 module has no token with the label ${token}`, {
    hint: seen.length > 0 ? `it has ${seen.join(', ')}` : `it has no token at all that this user sees: ${NO_TOKEN}`,
    retryAfter: 5,
  })
}

/**
 * Throws `denied` for a wrong PIN. That is never tried again: three wrong ones lock most tokens for good, so a token with
 * one try left is not touched either. What SoftHSM answers to logins at the same moment (5, 258) is.
 */
export async function logIn(cryptoki: Cryptoki, slot: Handle, session: Handle, pin: string): Promise<void> {
  const { flags, label } = cryptoki.C_GetTokenInfo(slot)
  const token = label.trimEnd()
  if ((flags & CKF.USER_PIN_LOCKED) !== 0) throw denied(`the PIN of the token ${token} is locked`, { hint: LOCKED })
  if ((flags & CKF.USER_PIN_FINAL_TRY) !== 0) {
    throw denied(`the token ${token} would lock itself at one more wrong PIN; it is not tried`, {
      hint: `log in by hand once with the right PIN: pkcs11-tool --login --token-label ${token}`,
    })
  }
  await backingOff([CKR.GENERAL_ERROR, CKR.USER_PIN_NOT_INITIALIZED], () => {
    try {
      cryptoki.C_Login(session, CKU_USER, pin)
    } catch (error) {
      if (ckrOf(error) === CKR.USER_ALREADY_LOGGED_IN) return // by another session of this process
      if (!isWrongPin(error)) throw error
      if (ckrOf(error) === CKR.PIN_LOCKED) throw denied(`the PIN of the token ${token} is locked`, { hint: LOCKED })
      throw denied(`the token ${token} refused the PIN; it is not tried again`, {
        hint: 'see keystore.pin_file; most tokens lock themselves at the third wrong PIN',
        cause: error,
      })
    }
  })
}
