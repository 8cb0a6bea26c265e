import type { Access, Want } from '#server/access/index.ts'
import type { Authority } from '#server/authority/index.ts'
import type { Hosts, HostView } from '#server/hosts/index.ts'
import { api } from '#shared/api/index.ts'
import { fromBase64 } from '#shared/bytes.ts'
import { type Place, parseHostName } from '#shared/names.ts'
import { actingOf, byOf, hostOf } from '../caller.ts'
import { type ApiRequest, type Handled, handle } from '../handle.ts'
import { inForceAnswer } from './in-force.ts'

export type HostRoutesDeps = {
  readonly hosts: Pick<
    Hosts,
    | 'add'
    | 'addWords'
    | 'find'
    | 'list'
    | 'show'
    | 'change'
    | 'remove'
    | 'words'
    | 'join'
    | 'renewClientCertificate'
    | 'waitForAll'
  >
  readonly access: Pick<Access, 'may' | 'takes'>
  readonly authority: Pick<Authority, 'issueHostCertificate' | 'adoptList' | 'certificatesEnd'>
}

/** Hosts: what people do with them, and what a host does for itself. */
export function hostRoutes({ hosts, authority, access }: HostRoutesDeps): Handled[] {
  type Named = Pick<ApiRequest<unknown, unknown>, 'params'>
  const placeOf = ({ params }: Named): Place | undefined => hosts.find(nameOf(params))?.place
  const inPlaceOf =
    (action: Want['action']) =>
    (request: Named): Want[] => [{ action, in: placeOf(request) }]
  return [
    handle(
      api.hosts.list,
      async request => {
        const caller = actingOf(request)
        const mayRead = (host: HostView) => access.may(caller, { action: 'host.read', in: host.in })
        return { hosts: (await hosts.list()).filter(mayRead) }
      },
      { takes: () => [{ action: 'host.read', in: 'anywhere' }] },
    ),
    handle(api.hosts.show, async ({ params }) => hosts.show(nameOf(params)), { takes: inPlaceOf('host.read') }),
    handle(
      api.hosts.add,
      async request => {
        const added = await hosts.add(request.body, byOf(request))
        return { ...added, endsAt: added.endsAt.toISOString() }
      },
      { takes: ({ body }) => [{ action: 'host.add', in: body.in }], names: ({ body }, on) => hosts.addWords(on, body) },
    ),
    handle(
      api.hosts.change,
      async request => {
        const { host, outside, namesGoodUntil } = await hosts.change(
          nameOf(request.params),
          request.body,
          byOf(request),
          { place: placeOf(request) },
        )
        const goodUntil = outside.length === 0 ? undefined : await authority.certificatesEnd(outside)
        return {
          ...host,
          ...(await inForceAnswer(hosts, request.query, goodUntil, ({ name }) => name === host.name)),
          ...(namesGoodUntil === undefined ? {} : { namesGoodUntil: namesGoodUntil.toISOString() }),
        }
      },
      {
        takes: ({ params, body }) => access.takes.changingHost(placeOf({ params }), body),
        names: ({ params, body }, on) => hosts.words(on, nameOf(params), body),
      },
    ),
    handle(
      api.hosts.remove,
      async request => {
        const { goodUntil } = await hosts.remove(nameOf(request.params), byOf(request), {
          place: placeOf(request),
        })
        return { goodUntil: goodUntil.toISOString() }
      },
      { takes: inPlaceOf('host.remove'), names: ({ params }, on) => hosts.words(on, nameOf(params)) },
    ),

    handle(api.hostSelf.join, async ({ body, requestId, from }) => {
      const { host, organisation, client } = await hosts.join(body, { requestId, from })
      return { host, organisation, client: clientAnswer(client) }
    }),
    handle(api.hostSelf.renewClientCertificate, async request => {
      const { requestId, from } = request
      return clientAnswer(await hosts.renewClientCertificate(hostOf(request), { requestId, from }))
    }),
    handle(api.hostSelf.hostCertificate, async request => {
      const { requestId, from } = request
      return authority.issueHostCertificate(hostOf(request), { ...request.body, requestId, from })
    }),
    handle(api.hostSelf.reportRevoked, async request => {
      const { requestId, from, body } = request
      const list = { bytes: fromBase64(body.base64), signature: body.signature }
      return authority.adoptList(list, { host: hostOf(request).name, requestId, from })
    }),
  ]
}

const nameOf = (params: Readonly<Record<string, string>>) => parseHostName(params.name ?? '', 'name')
const clientAnswer = ({ pem, endsAt }: { pem: string; endsAt: Date }) => ({
  certificate: pem,
  endsAt: endsAt.toISOString(),
})
