import type { Actor, Ledger } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'

/**
 * Records that a certificate was refused to somebody who is known, and gives the error to throw. `reasons` are for whoever
 * reads the log; `message` and `hint` are what the caller may know.
 */
export async function denied(
  { ledger }: { readonly ledger: Pick<Ledger, 'append'> },
  request: { readonly requestId: string; readonly from?: string },
  refused: {
    readonly actor: Actor
    readonly what: 'ssh-user-certificate' | 'ssh-host-certificate' | 'client-certificate'
    readonly reasons: readonly string[]
    readonly message?: string
    readonly hint?: string
  },
): Promise<KeymanError> {
  const reason = refused.reasons.join('; ')
  await ledger.append({
    requestId: request.requestId,
    kind: 'denied',
    actor: refused.actor,
    target: refused.what,
    decision: 'deny',
    reason,
    ...(request.from === undefined ? {} : { from: request.from }),
  })
  return new KeymanError('denied', refused.message ?? reason, refused.hint === undefined ? {} : { hint: refused.hint })
}
