import { KeymanError } from '#shared/errors.ts'
import { grantText } from '#shared/grant-text.ts'
import type { Access } from './port.ts'
import { countGrantsTo, selectGrant, selectMembers } from './records.ts'

/** The room's `words`. */
export const accessWords: Access['words'] = {
  async grant(on, id) {
    const grant = await selectGrant(on, id)
    if (!grant) throw new KeymanError('not-found', `there is no grant ${id}`, { hint: 'see `keyman grant list`' })
    return [
      { name: 'It gives', value: grantText(grant) },
      { name: 'Made by', value: `${grant.createdBy}, ${grant.createdAt}` },
    ]
  },

  async team(on, name) {
    const members = await selectMembers(on, name)
    const grants = await countGrantsTo(on, `team:${name}`)
    const value = members
      ? `${members.length} members, who get in by ${grants} grants to the team`
      : 'nobody yet: the team is new'
    return [{ name: `The team ${name} is`, value }]
  },
}
