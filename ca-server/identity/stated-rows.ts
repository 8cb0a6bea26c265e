import { z } from 'zod'
import type { StatedRows } from '#server/ledger/index.ts'
import { passkeyFact, personFact, relyingPartyFact } from './facts.ts'
import { selectPersons, selectRelyingParty } from './person-records.ts'

const passkeyRow = z
  .object({
    id: z.string(),
    person: z.string(),
    credential_id: z.instanceof(Uint8Array),
    public_key: z.instanceof(Uint8Array),
  })
  .transform(row => ({ ...row, credentialId: row.credential_id, publicKey: row.public_key }))

/** Persons and passkeys. Sessions and links are looked at when somebody comes with one, and end by themselves. */
export const identityRows: StatedRows = {
  kinds: ['person:', 'passkey:', 'relying-party'],
  async read(on) {
    const rp = await selectRelyingParty(on)
    const passkeys = await on.query('select id, person, credential_id, public_key from passkey', [], passkeyRow)
    return [
      ...(await selectPersons(on)).map(personFact),
      ...passkeys.map(passkeyFact),
      ...(rp ? [relyingPartyFact(rp)] : []),
    ]
  },
}
