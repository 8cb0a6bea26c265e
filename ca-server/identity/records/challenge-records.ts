import { and, desc, eq, gt, inArray } from 'drizzle-orm'
import { builder, prepared, type Queryable, rows, run } from '#server/store/index.ts'
import { type Purpose, webauthnChallenge } from '../tables.ts'
import { CEREMONY_SECONDS } from '../webauthn.ts'

/** WebAuthn challenges: each is for one ceremony of one purpose and subject, and is deleted at its first use. */

export type { Purpose } from '../tables.ts'

const { challenge, purpose, subject, nonce, identity, userHandle, endsAt } = webauthnChallenge

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

const surplus = prepared({}, () => {
  const newest = builder
    .select({ challenge })
    .from(webauthnChallenge)
    .where(eq(purpose, 'sign-in'))
    .orderBy(desc(endsAt))
  return builder.delete(webauthnChallenge).where(inArray(challenge, newest.offset(MOST_SIGN_INS - 1)))
})
/** Beyond, the oldest go: one address alone never gets so many within the time that they are good. */
export const boundSignIns = (on: Queryable): Promise<number> => run(on, surplus({}))

const added = prepared({ challenge, purpose, subject, nonce, identity, userHandle, endsAt }, given =>
  builder.insert(webauthnChallenge).values(given),
)
export async function insertChallenge(on: Queryable, challenge: NewChallenge, now: Date): Promise<void> {
  const endsAt = new Date(now.getTime() + CEREMONY_SECONDS * 1000)
  const { identity = null, userHandle = null } = challenge
  await run(on, added({ ...challenge, identity, userHandle, endsAt }))
}

const deleted = prepared({ challenge, purpose, subject, now: endsAt }, given =>
  builder
    .delete(webauthnChallenge)
    .where(
      and(
        eq(challenge, given.challenge),
        eq(purpose, given.purpose),
        eq(subject, given.subject),
        gt(endsAt, given.now),
      ),
    )
    .returning({ nonce, identity, userHandle }),
)
/** Deletes it: `undefined` where there is none of this purpose and subject, or it has ended. */
export async function deleteChallenge(
  on: Queryable,
  about: { challenge: Uint8Array; purpose: Purpose; subject: string },
  now: Date,
): Promise<Omit<NewChallenge, 'challenge' | 'purpose' | 'subject'> | undefined> {
  const [found] = await rows(on, deleted({ ...about, now }))
  if (found === undefined) return undefined
  const { nonce, identity, userHandle } = found
  return { nonce, ...(identity === null ? {} : { identity }), ...(userHandle === null ? {} : { userHandle }) }
}

export const deleteAllChallenges = (t: Queryable): Promise<number> => run(t, builder.delete(webauthnChallenge))
