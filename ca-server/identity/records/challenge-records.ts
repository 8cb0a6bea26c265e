import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { CEREMONY_SECONDS } from '../webauthn.ts'

/** WebAuthn challenges: each is for one ceremony of one purpose and subject, and is deleted at its first use. */
export type Purpose = 'enrolment' | 'passkey' | 'sign-in' | 'login' | 'action'

export type NewChallenge = {
  readonly challenge: Uint8Array
  readonly purpose: Purpose
  /** The transaction, link or session that it is for. */
  readonly subject: string
  readonly nonce: Uint8Array
  readonly identity?: string
  readonly userHandle?: Uint8Array
}

/** Of those that anybody gets who asks. */
export const MOST_SIGN_INS = 20_000

/** Beyond, the oldest go: one address alone never gets so many within the time that they are good. */
export const boundSignIns = (on: Queryable): Promise<number> =>
  on.execute(
    `delete from webauthn_challenge where challenge in (select challenge from webauthn_challenge where purpose = 'sign-in'
       order by ends_at desc offset $1::int)`,
    [MOST_SIGN_INS - 1],
  )

export async function insertChallenge(on: Queryable, challenge: NewChallenge, now: Date): Promise<void> {
  await on.execute(
    `insert into webauthn_challenge (challenge, purpose, subject, nonce, identity, user_handle, ends_at)
     values ($1, $2, $3, $4, $5, $6, $7::timestamptz)`,
    [
      challenge.challenge,
      challenge.purpose,
      challenge.subject,
      challenge.nonce,
      challenge.identity ?? null,
      challenge.userHandle ?? null,
      new Date(now.getTime() + CEREMONY_SECONDS * 1000).toISOString(),
    ],
  )
}

const row = z
  .object({
    nonce: z.instanceof(Uint8Array),
    identity: z.string().nullable(),
    user_handle: z.instanceof(Uint8Array).nullable(),
  })
  .transform(({ nonce, identity, user_handle }) => ({
    nonce,
    ...(identity === null ? {} : { identity }),
    ...(user_handle === null ? {} : { userHandle: user_handle }),
  }))

/** Deletes it: `undefined` where there is none of this purpose and subject, or it has ended. */
export async function deleteChallenge(
  on: Queryable,
  { challenge, purpose, subject }: { challenge: Uint8Array; purpose: Purpose; subject: string },
  now: Date,
): Promise<Omit<NewChallenge, 'challenge' | 'purpose' | 'subject'> | undefined> {
  const [found] = await on.query(
    `delete from webauthn_challenge where challenge = $1 and purpose = $2 and subject = $3 and ends_at > $4::timestamptz
     returning nonce, identity, user_handle`,
    [challenge, purpose, subject, now.toISOString()],
    row,
  )
  return found
}
