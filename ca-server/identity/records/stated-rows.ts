import { asc, gt, sql } from 'drizzle-orm'
import { z } from 'zod'
import { type StatedRows, UNREADABLE, WHOLE } from '#server/ledger/index.ts'
import { builder, eachRow } from '#server/store/index.ts'
import { passkey, person } from '../tables.ts'
import { passkeyFact, passkeyId, personFact, personId, relyingPartyFact } from './facts.ts'
import { selectRelyingParty } from './person-records.ts'

/** Sessions and links are looked at when somebody comes with one, and end by themselves. */
export const identityRows: readonly StatedRows[] = [
  {
    kind: 'person',
    async read(on, { after, limit } = WHOLE) {
      const { owner, state, userHandle } = person
      // Whatever it is: one that is no identity states something, too.
      const identity = sql`${person.identity}`.mapWith(z.string().parse)
      const page = builder
        .select({ identity, owner, state, userHandle })
        .from(person)
        .where(sql`${person.identity} > ${after}`)
        .orderBy(asc(person.identity))
        .limit(limit)
      return (await eachRow(on, page)).map(({ row, fits }) =>
        row ? personFact(row) : { id: personId(fits.identity ?? ''), is: UNREADABLE },
      )
    },
  },
  {
    kind: 'passkey',
    async read(on, { after, limit } = WHOLE) {
      const { id, credentialId, publicKey } = passkey
      const whose = sql`${passkey.person}`.mapWith(z.string().parse)
      const page = builder
        .select({ id, person: whose, credentialId, publicKey })
        .from(passkey)
        .where(gt(id, after))
        .orderBy(asc(id))
        .limit(limit)
      return (await eachRow(on, page)).map(({ row, fits }) =>
        row ? passkeyFact(row) : { id: passkeyId(fits.id ?? ''), is: UNREADABLE },
      )
    },
  },
  {
    kind: 'relying-party',
    async read(on, { after } = WHOLE) {
      const rp = after === '' ? await selectRelyingParty(on) : undefined
      return rp ? [relyingPartyFact(rp)] : []
    },
  },
]
