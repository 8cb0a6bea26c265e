import { KeymanError } from '#shared/errors.ts'
import { selectOpenLinks } from './link-records.ts'
import { selectPasskeys, selectPerson } from './person-records.ts'
import type { IdentityWords } from './port.ts'

/** The room's `words`: for whoever is to touch a passkey for what an ID names. */
export const identityWords = (now: () => Date): IdentityWords => ({
  async person(on, identity) {
    const person = await selectPerson(on, identity)
    if (!person)
      throw new KeymanError('not-found', `there is no person ${identity}`, { hint: 'see keyman person list' })
    const role = person.administrator ? 'administrator' : 'no administrator'
    return [{ name: `Who ${identity} is`, value: `${role}, ${person.state}, with ${person.passkeys} passkeys` }]
  },

  async invitation(on, id) {
    const link = (await selectOpenLinks(on, now())).find(each => each.id === id)
    if (!link)
      throw new KeymanError('not-found', `there is no invitation ${id.slice(0, 64)} that could still be used`, {
        hint: 'see keyman invitation list',
      })
    return [
      { name: 'For', value: `${link.identity || 'whoever has it'}${link.administrator ? ', as administrator' : ''}` },
      { name: 'Made by', value: link.createdBy },
      { name: 'Good until', value: link.endsAt.toISOString() },
    ]
  },

  async passkey(on, owner, id) {
    const passkey = (await selectPasskeys(on, owner)).find(each => each.id === id)
    if (!passkey)
      throw new KeymanError('not-found', `you have no passkey ${id.slice(0, 64)}`, { hint: 'see keyman passkey list' })
    return [
      { name: 'Named', value: JSON.stringify(passkey.name) },
      { name: 'Made', value: passkey.createdAt.toISOString() },
    ]
  },
})
