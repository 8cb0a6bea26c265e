import { KeymanError } from '#shared/errors.ts'
import { madeAt, named } from './passkeys.ts'
import type { IdentityDeps, IdentityWords } from './port.ts'
import { linkFact, passkeysBy, personFact, personId, resetBy, sessionFact } from './records/facts.ts'
import { selectOpenLinks } from './records/link-records.ts'
import { selectPasskeys, selectPerson } from './records/person-records.ts'
import { selectSession } from './records/session-records.ts'

const STRANGE = 'unknown: the database does not say what the audit log says'

/** The room's `words`: for whoever is to touch a passkey for what an ID names. */
export const identityWords = ({ now, ledger: { facts } }: Pick<IdentityDeps, 'now' | 'ledger'>): IdentityWords => ({
  async person(on, identity) {
    const person = await selectPerson(on, identity)
    if (!person && !facts.has(personId(identity)))
      throw new KeymanError('not-found', `there is no person ${identity}`, { hint: 'see keyman person list' })
    // Never a refusal: somebody changes a row, and nobody could be disabled any more.
    if (person?.identity !== identity || !facts.holds(personFact(person)))
      return [{ name: `Who ${identity} is`, value: STRANGE }]
    const role = person.owner ? 'owner' : 'no owner'
    const { shown, hidden } = passkeysBy(facts, identity, await selectPasskeys(on, identity))
    const count = shown.length + hidden.length
    const who = {
      name: `Who ${identity} is`,
      value: `${role}, ${person.state}, with ${count} ${count === 1 ? 'passkey' : 'passkeys'}`,
    }
    const by = resetBy(facts.ids, identity)
    if (by.length === 0) return [who]
    // What a yes is a yes to, by the log.
    const passkeys = [
      ...shown.map(
        passkey =>
          `${JSON.stringify(named({ ledger: { facts } }, passkey).name)}, made ${madeAt({ ledger: { facts } }, passkey)}`,
      ),
      ...hidden.map(id => `${id}, which the database does not show`),
    ]
    return [
      who,
      { name: 'Was reset by', value: by.join(', ') },
      { name: `Passkeys of ${identity}`, value: passkeys.join('; ') || 'none' },
    ]
  },

  async invitation(on, id) {
    const link = (await selectOpenLinks(on, now())).find(each => each.id === id)
    if (!link)
      throw new KeymanError('not-found', `there is no invitation ${id.slice(0, 64)} that could still be used`, {
        hint: 'see keyman invitation list',
      })
    if (!facts.holds(linkFact(link))) return [{ name: 'For', value: STRANGE }]
    return [
      { name: 'For', value: `${link.identity || 'whoever has it'}${link.owner ? ', as owner' : ''}` },
      { name: 'Made by', value: link.createdBy },
      { name: 'Good until', value: link.endsAt.toISOString() },
    ]
  },

  async passkey(on, owner, id) {
    const passkey = (await selectPasskeys(on, owner)).find(each => each.id === id)
    if (!passkey)
      throw new KeymanError('not-found', `you have no passkey ${id.slice(0, 64)}`, { hint: 'see keyman passkey list' })
    return [
      { name: 'Named', value: JSON.stringify(named({ ledger: { facts } }, passkey).name) },
      { name: 'Made', value: madeAt({ ledger: { facts } }, passkey) },
    ]
  },

  async session(on, id) {
    const row = await selectSession(on, id)
    if (row?.id !== id || row.ended)
      throw new KeymanError('not-found', `no session ${id.slice(0, 64)} is open`, { hint: 'see keyman session list' })
    if (!facts.holds(sessionFact(row))) return [{ name: 'Of', value: STRANGE }]
    return [
      { name: 'Of', value: row.person },
      { name: 'Device', value: JSON.stringify(row.device) },
      { name: 'Began', value: row.startedAt.toISOString() },
    ]
  },
})
