import type { Gate } from '#server/http/app.ts'
import { KeymanError } from '#shared/errors.ts'

const nobody = async () => {
  throw new KeymanError('not-signed-in', 'nobody is known here')
}

/** An edge at which nobody is known: for routes that anyone may call. */
export const nobodyGate: Gate = {
  callerFromClientCertificate: nobody,
  callerFromCookie: nobody,
  ring: nobody,
  requireRole: nobody,
  may: () => false,
  touches: { require: nobody, keepAnswer: nobody, digest: () => '' },
  store: { query: nobody, execute: nobody },
}
