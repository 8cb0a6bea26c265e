import { z } from 'zod'
import { type StatedRows, UNREADABLE, WHOLE } from '#server/ledger/index.ts'
import { passkeyFact, passkeyId, personFact, personId, relyingPartyFact } from './facts.ts'
import { selectRelyingParty } from './person-records.ts'

const bytes = z.instanceof(Uint8Array)
const personRow = z
  .object({
    identity: z.string(),
    owner: z.boolean(),
    state: z.enum(['active', 'disabled']),
    user_handle: bytes,
  })
  .transform(({ user_handle, ...row }) => personFact({ ...row, userHandle: user_handle }))
  .or(z.object({ identity: z.string() }).transform(({ identity }) => ({ id: personId(identity), is: UNREADABLE })))

const passkeyRow = z
  .object({ id: z.string(), person: z.string(), credential_id: bytes, public_key: bytes })
  .transform(row => passkeyFact({ ...row, credentialId: row.credential_id, publicKey: row.public_key }))
  .or(z.object({ id: z.string() }).transform(({ id }) => ({ id: passkeyId(id), is: UNREADABLE })))

/** Sessions and links are looked at when somebody comes with one, and end by themselves. */
export const identityRows: readonly StatedRows[] = [
  {
    kind: 'person',
    read: (on, { after, limit } = WHOLE) =>
      on.query(
        `select identity, administrator as owner, state, user_handle from person where identity > $1 order by identity
         limit $2::int`,
        [after, limit],
        personRow,
      ),
  },
  {
    kind: 'passkey',
    read: (on, { after, limit } = WHOLE) =>
      on.query(
        'select id, person, credential_id, public_key from passkey where id > $1 order by id limit $2::int',
        [after, limit],
        passkeyRow,
      ),
  },
  {
    kind: 'relying-party',
    async read(on, { after } = WHOLE) {
      const rp = after === '' ? await selectRelyingParty(on) : undefined
      return rp ? [relyingPartyFact(rp)] : []
    },
  },
]
