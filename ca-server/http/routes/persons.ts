import type { Access } from '#server/access/index.ts'
import type { Authority, HostSessions } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { By, Identity, PersonView, Within } from '#server/identity/index.ts'
import type { Logins } from '#server/logins/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { api } from '#shared/api/index.ts'
import { type PersonIdentity, parsePersonIdentity } from '#shared/names.ts'
import { byOf } from '../caller.ts'
import { type ApiRequest, type Handled, handle } from '../handle.ts'
import { inForceAnswer, withEnded } from './in-force.ts'

export type PersonRoutesDeps = {
  readonly identity: Pick<Identity, 'persons' | 'words'> & {
    readonly enrolment: Pick<Identity['enrolment'], 'invite' | 'openLinks' | 'endLink' | 'reset'>
  }
  readonly access: Pick<Access, 'teamsOf' | 'catchUp' | 'words' | 'takes' | 'gives'>
  readonly authority: Pick<Authority, 'revokeAllIn'>
  readonly hosts: Pick<Hosts, 'waitForAll'>
  readonly logins: Pick<Logins, 'endedBy'>
}

/** Persons: who is here, invitations, resetting, changing, disabling and enabling. */
export function personRoutes({ identity, access, authority, hosts, logins }: PersonRoutesDeps): Handled[] {
  const answer = (person: PersonView) => ({
    ...person,
    teams: access.teamsOf(person.identity),
    createdAt: person.createdAt.toISOString(),
    lastLoginAt: person.lastLoginAt?.toISOString(),
  })
  /** In the same transaction: the epochs, the person, the certificates that are still good, the records. */
  const revokingAll = (person: PersonIdentity, by: By, hostSessions?: HostSessions) => {
    let revoked: Awaited<ReturnType<Authority['revokeAllIn']>> | undefined
    const within: Within = async t => {
      revoked = await authority.revokeAllIn(t, person, by, hostSessions)
      return revoked.entries
    }
    const inForce = async (waits: { readonly wait: number }) => {
      const told = await inForceAnswer(hosts, waits, revoked?.goodUntil)
      return { ...told, hosts: await withEnded(logins, revoked?.order, told.hosts) }
    }
    return { within, inForce }
  }
  const touching = ({ params }: Pick<ApiRequest<unknown, unknown>, 'params'>) =>
    access.takes.touching(identityOf(params))
  const inWords = ({ params }: ApiRequest<unknown, unknown>, on: Queryable) =>
    identity.words.person(on, identityOf(params))
  /** Of what gives somebody all that the person has. */
  const allOf = {
    takes: ({ params }: Pick<ApiRequest<unknown, unknown>, 'params'>) => access.takes.logins(identityOf(params)),
    gives: ({ params }: Pick<ApiRequest<unknown, unknown>, 'params'>) => access.gives.being(identityOf(params)),
    names: async (request: ApiRequest<unknown, unknown>, on: Queryable) => [
      ...(await inWords(request, on)),
      ...(await access.words.person(on, identityOf(request.params))),
    ],
  }
  return [
    handle(api.persons.list, async () => ({ persons: (await identity.persons.list()).map(answer) })),
    handle(api.persons.show, async ({ params }) => answer(await identity.persons.show(identityOf(params)))),
    handle(
      api.persons.invite,
      async request => {
        const invitation = await identity.enrolment.invite(request.body, byOf(request))
        return { ...invitation, endsAt: invitation.endsAt.toISOString() }
      },
      {
        takes: ({ body }) => access.takes.logins(body.identity),
        gives: ({ body }) => access.gives.invitation(body),
        // The name may have been given something before.
        names: ({ body }, on) => access.words.person(on, body.identity),
      },
    ),
    handle(api.persons.invitations, async () => ({
      invitations: (await identity.enrolment.openLinks()).map(({ createdAt, endsAt, ...link }) => ({
        ...link,
        createdAt: createdAt.toISOString(),
        endsAt: endsAt.toISOString(),
      })),
    })),
    handle(
      api.persons.uninvite,
      async request => {
        await identity.enrolment.endLink(request.params.id ?? '', byOf(request))
        return undefined
      },
      { names: ({ params }, on) => identity.words.invitation(on, params.id ?? '') },
    ),
    handle(
      api.persons.disable,
      async request => {
        const person = identityOf(request.params)
        const by = byOf(request)
        const revoking = revokingAll(person, by, request.query.hostSessions)
        const disabled = await identity.persons.disable(person, by, revoking.within)
        await access.catchUp()
        return { ...answer(disabled), ...(await revoking.inForce(request.query)) }
      },
      { takes: touching, names: inWords },
    ),
    handle(
      api.persons.enable,
      async request => {
        const enabled = await identity.persons.enable(identityOf(request.params), byOf(request))
        await access.catchUp()
        return answer(enabled)
      },
      // It is a yes to all that the person has.
      allOf,
    ),
    handle(
      api.persons.change,
      async request => {
        const changed = await identity.persons.change(identityOf(request.params), request.body, byOf(request))
        await access.catchUp()
        return answer(changed)
      },
      { names: inWords },
    ),
    handle(
      api.persons.reset,
      async request => {
        const person = identityOf(request.params)
        const by = byOf(request)
        const revoking = revokingAll(person, by)
        const reset = await identity.enrolment.reset(person, request.body, by, revoking.within)
        await access.catchUp()
        const answered = await revoking.inForce(request.query)
        return { ...reset, endsAt: reset.endsAt.toISOString(), ...answered }
      },
      // Whoever gets the link gets all of it.
      allOf,
    ),
  ]
}

const identityOf = (params: Readonly<Record<string, string>>) => parsePersonIdentity(params.identity ?? '', 'identity')
