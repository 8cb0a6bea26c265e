import type { Entry, Fact } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { isPersonIdentity } from '#shared/names.ts'
import type { Enrolment } from '../port.ts'
import { gone, goneLinks, linkFact, linkId, personFact, personId } from '../records/facts.ts'
import { endLinks, type LinkRow, selectOpenLinks } from '../records/link-records.ts'
import { selectPerson } from '../records/person-records.ts'
import { newId } from '../records/secrets.ts'
import type { Room } from '../room.ts'
import type { Act, By } from '../standing.ts'
import {
  ADMIN_LINK_LIFETIME,
  assertLength,
  hasAnybody,
  linkDetails,
  loginLine,
  MAX_IDENTITY,
  makeLink,
  nameOf,
  taken,
} from './links.ts'
import { resetIn } from './reset.ts'

type Invitations = Pick<Enrolment, 'invite' | 'openLinks' | 'endLink' | 'createAdminLink' | 'firstOwnerLink'>

/** The links by which somebody becomes a person, and an end of them. */
export function createInvitations(room: Room, act: Act): Invitations {
  const { deps } = room
  const { store, now, random, ledger } = deps
  const forNobody = { identity: '', identityFixed: false, owner: true } as const

  return {
    async invite({ identity, owner, lifetime }, by) {
      assertLength(identity)
      const made = await act(by, { name: 'invite' }, async t => {
        if (await selectPerson(t, identity)) throw taken(identity)
        const ended = await endLinks(t, { identity }, now())
        assertMayEnd(ended, by)
        const link = await makeLink(
          room,
          t,
          { kind: 'invitation', isFirst: false, identity, identityFixed: true, owner, createdBy: nameOf(by) },
          lifetime,
        )
        await ledger.appendIn(t, [
          linkEntry('invitation-created', link, identity, owner, by, { facts: goneLinks(ledger.facts, ended) }),
        ])
        return link
      })
      return { identity, link: made.link, login: loginLine(deps), endsAt: made.endsAt }
    },

    async openLinks() {
      const open = await ledger.vouched(
        () => selectOpenLinks(store, now()),
        link => [linkFact(link)],
      )
      return open.map(({ id, identity, owner, createdBy, createdAt, endsAt }) => ({
        id,
        identity,
        owner,
        createdBy,
        createdAt,
        endsAt,
      }))
    },

    async endLink(id, by) {
      await act(by, { name: 'invitation remove' }, async t => {
        const ended = await endLinks(t, { id }, now())
        assertMayEnd(ended, by)
        // By the log: its row may be hidden, and put back.
        if (ended.length === 0 && !ledger.facts.has(linkId(id)))
          throw new KeymanError('not-found', `there is no invitation ${id.slice(0, 64)} that could still be used`, {
            hint: 'see keyman invitation list',
          })
        await ledger.appendIn(t, [{ ...by, kind: 'invitation-removed', target: id, facts: [gone(linkId(id))] }])
      })
      // Remembered before it is said to be done.
      await ledger.follow()
    },

    async createAdminLink(identity, { isNew }, by, within = async () => []) {
      if (identity !== undefined) assertLength(identity)
      await ledger.follow()
      const isHere = identity !== undefined && ledger.facts.has(personId(identity))
      if (isHere && isNew)
        throw new KeymanError('conflict', `${identity} is here already: nobody new can have that name`, {
          hint: `keyman-server admin-link ${identity} without --new gives that person a new passkey`,
        })
      if (!isHere && !isNew)
        throw new KeymanError('not-found', `${identity ?? 'no name: that'} is nobody who is here`, {
          hint: 'with --new the link makes a new owner; without it, name a person who is here',
        })
      const made = await act(
        by,
        { name: 'admin-link', changes: identity === undefined ? [] : [personId(identity)] },
        async t => {
          const reset = isHere ? await resetIn(room, t, { identity, by, removePasskeys: false }) : undefined
          const link = await makeLink(
            room,
            t,
            {
              ...(identity === undefined ? forNobody : { identity, identityFixed: true, owner: true }),
              kind: 'administrator',
              isFirst: false,
              createdBy: nameOf(by),
            },
            ADMIN_LINK_LIFETIME,
          )
          const more = isHere ? await within(t) : []
          const entry = linkEntry('admin-link-created', link, identity, true, by, reset)
          await ledger.appendIn(t, [entry, ...more])
          // The operator is told what the log says, or nothing.
          const was = reset?.before && ledger.facts.holds(personFact(reset.before)) ? reset.before : undefined
          return { link: link.link, endsAt: link.endsAt, was }
        },
      )
      await room.sessions.refresh()
      return made
    },

    async firstOwnerLink(proposal) {
      await ledger.follow()
      if (hasAnybody(deps)) return undefined
      const by: By = { actor: { kind: 'server' }, requestId: newId('start', random) }
      return act(by, { name: 'first owner' }, async t => {
        const ended = await endLinks(t, { first: true }, now())
        const identity = isPersonIdentity(proposal) && proposal.length <= MAX_IDENTITY ? proposal : ''
        const link = await makeLink(
          room,
          t,
          { ...forNobody, kind: 'administrator', isFirst: true, identity, createdBy: 'server' },
          ADMIN_LINK_LIFETIME,
        )
        await ledger.appendIn(t, [
          linkEntry('admin-link-created', link, undefined, true, by, { facts: goneLinks(ledger.facts, ended) }),
        ])
        return link.link
      })
    },
  }
}

/** What makes an owner is an owner's to take away, as owners are. */
function assertMayEnd(links: readonly LinkRow[], { standing }: By): void {
  const owners = links.find(({ owner }) => owner)
  if (owners && standing && !(standing.caller.kind === 'person' && standing.caller.owner))
    throw new KeymanError('denied', `the invitation ${owners.id} makes an owner: ending it takes owner.change`, {
      hint: 'ask an owner',
    })
}

const linkEntry = (
  kind: 'invitation-created' | 'admin-link-created',
  link: { id: string; endsAt: Date; facts: readonly Fact[] },
  identity: string | undefined,
  owner: boolean,
  by: By,
  { details, facts = [] }: { details?: Entry['details']; facts?: readonly Fact[] } = {},
): Entry => ({
  ...by,
  kind,
  target: identity ?? link.id,
  details: { ...linkDetails(link, identity, owner), ...details },
  facts: [...link.facts, ...facts],
})
