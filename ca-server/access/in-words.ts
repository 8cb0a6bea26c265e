import type { Ledger } from '#server/ledger/index.ts'
import { grantText } from '#shared/grant-text.ts'
import { changeInWords } from './changes/change-grant.ts'
import { givenRoleInWords, ownRolesInWords, roleChangeInWords, roleRemovalInWords } from './changes/own-roles.ts'
import { removalInWords } from './changes/remove-grant.ts'
import { told } from './describe.ts'
import { membersOf, shownGrants, teamsOf } from './facts.ts'
import type { Access, Grant } from './port.ts'
import { selectGrants } from './records.ts'

/** The room's `words`: whoever touches a passkey for a change is shown what the log says too. */
export function accessWords(ledger: Pick<Ledger, 'facts' | 'recordOf'>): Access['words'] {
  const { facts } = ledger
  /** Those that the log vouches for; and what it knows beside all of these, which may be anybody's: a row that is hidden now is put back later. */
  function known(rows: readonly Grant[], isMeant: (grant: Grant) => boolean) {
    const { vouched, hidden } = shownGrants(facts, rows)
    return {
      grants: vouched.filter(isMeant),
      hidden: hidden.length === 0 ? [] : [`maybe more: the database does not show ${hidden.join(', ')}`],
    }
  }
  return {
    grant: (on, id, change) =>
      change === undefined ? removalInWords(ledger, on, id) : changeInWords(ledger, on, id, change),

    role: (on, name, change) =>
      change === undefined ? roleRemovalInWords(ledger, on, name) : roleChangeInWords(ledger, on, name, change),
    givenRole: (on, name) => givenRoleInWords(ledger, on, name),

    async person(on, identity) {
      const teams = teamsOf(facts.ids, identity)
      const whose = [identity, ...teams.map(team => `team:${team}`)]
      const { grants, hidden } = known(await selectGrants(on), grant => whose.includes(grant.who))
      return [
        { name: `Teams of ${identity}`, value: told(teams) || 'none' },
        { name: `What ${identity} gets`, value: told([...grants.map(grantText), ...hidden]) || 'nothing' },
        ...(await ownRolesInWords(ledger, on, grants)),
      ]
    },

    async workload(on, who) {
      const { grants, hidden } = known(await selectGrants(on), grant => grant.who === who)
      return [
        { name: 'What it gets', value: told([...grants.map(grantText), ...hidden]) || 'nothing yet' },
        ...(await ownRolesInWords(ledger, on, grants)),
      ]
    },

    async team(on, name) {
      const members = membersOf(facts.ids, name)
      const { grants, hidden } = known(await selectGrants(on), grant => grant.who === `team:${name}`)
      if (members.length === 0 && grants.length === 0 && hidden.length === 0)
        return [{ name: `The team ${name} is`, value: 'nobody yet: the team is new' }]
      return [
        { name: `The team ${name} is`, value: told(members) || 'nobody' },
        { name: `What the team ${name} gets`, value: told([...grants.map(grantText), ...hidden]) || 'nothing yet' },
        ...(await ownRolesInWords(ledger, on, grants)),
      ]
    },
  }
}
