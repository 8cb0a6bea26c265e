import { createHash } from 'node:crypto'
import { toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { grantText } from '#shared/grant-text.ts'
import type { Access } from './port.ts'
import { selectGrant, selectGrantsTo, selectMembers } from './records.ts'

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
    if (!members) return [{ name: `The team ${name} is`, value: 'nobody yet: the team is new' }]
    const grants = await selectGrantsTo(on, `team:${name}`)
    return [
      { name: `The team ${name} is`, value: told(members) || 'nobody' },
      { name: `What the team ${name} gets`, value: told(grants.map(grantText)) || 'nothing yet' },
    ]
  },
}

/** Characters: what is longer hides what else stands on the page. */
const MAX_LISTED = 3000

/** Each of them, since one that took the place of another is another matter; where they are too many, a digest of all. */
function told(all: readonly string[]): string {
  const text = all.join('; ')
  if (text.length <= MAX_LISTED) return text
  return `${all.length}, too many to be shown, digest ${toBase64Url(createHash('sha256').update(text).digest()).slice(0, 22)}`
}
