import type { Access, Want } from '#server/access/index.ts'
import type { Authority } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { Logins } from '#server/logins/index.ts'
import type { Proven, Workloads } from '#server/workloads/index.ts'
import { api } from '#shared/api/index.ts'
import { parseWorkloadName, placeOfWorkload, type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { actingOf, byOf, workloadOf } from '../caller.ts'
import { type ApiRequest, type Handled, handle } from '../handle.ts'
import { inForceAnswer } from './in-force.ts'
import { type CertificatesDeps, certificatesFor } from './login.ts'
import { revocationAnswer } from './revocations.ts'

export type WorkloadRoutesDeps = CertificatesDeps & {
  readonly workloads: Pick<
    Workloads,
    'list' | 'show' | 'add' | 'invite' | 'change' | 'remove' | 'words' | 'join' | 'renew' | 'leave'
  >
  readonly access: Pick<Access, 'may' | 'takes' | 'gives' | 'reachableBy'>
  readonly authority: CertificatesDeps['authority'] & Pick<Authority, 'ready' | 'revoke'>
  readonly hosts: Pick<Hosts, 'living' | 'keyTypes' | 'waitForAll' | 'waitForKrl' | 'find'>
  readonly logins: Pick<Logins, 'endedBy'>
  readonly config: { readonly organisation: string }
}

type Named = Pick<ApiRequest<unknown, unknown>, 'params'>

/** Workloads: what people do with them, and what a workload does for itself. */
export function workloadRoutes(deps: WorkloadRoutesDeps): Handled[] {
  const { workloads, access, authority, hosts, logins } = deps
  const inPlaceOf =
    (action: Want['action']) =>
    (request: Named): Want[] => [{ action, in: placeOfWorkload(nameOf(request)) }]
  /** What it gives to have such a token: whoever makes one could use it. */
  const becoming = (request: Named) => access.takes.becoming(nameOf(request))
  return [
    handle(
      api.workloads.list,
      async request => {
        const caller = actingOf(request)
        const all = await workloads.list()
        return { workloads: all.filter(each => access.may(caller, { action: 'workload.read', in: each.in })) }
      },
      { takes: () => [{ action: 'workload.read', in: 'anywhere' }] },
    ),
    handle(api.workloads.show, request => workloads.show(nameOf(request)), { takes: inPlaceOf('workload.read') }),
    handle(api.workloads.add, async request => tokenAnswer(await workloads.add(request.body, byOf(request))), {
      takes: ({ body }) => [
        { action: 'workload.add', in: placeOfWorkload(body.name) },
        ...access.gives.being(workloadPrincipal(body.name)),
      ],
    }),
    handle(api.workloads.change, request => workloads.change(nameOf(request), request.body, byOf(request)), {
      takes: inPlaceOf('workload.change'),
      names: (request, on) => workloads.words(on, nameOf(request)),
    }),
    handle(
      api.workloads.token,
      async request => tokenAnswer(await workloads.invite(nameOf(request), request.body.tokenLifetime, byOf(request))),
      {
        takes: request => [...inPlaceOf('workload.token')(request), ...becoming(request)],
        names: (request, on) => workloads.words(on, nameOf(request)),
      },
    ),
    handle(
      api.workloads.end,
      async request => {
        const workload = nameOf(request)
        const ended = await authority.revoke({ workload }, request.query.reason, byOf(request))
        const { revoked, hosts: told, goodUntil } = await revocationAnswer({ hosts, logins }, ended, request.query.wait)
        return { revoked, hosts: told, ...(goodUntil === undefined ? {} : { goodUntil }) }
      },
      { takes: inPlaceOf('workload.end'), names: (request, on) => workloads.words(on, nameOf(request)) },
    ),
    handle(
      api.workloads.remove,
      async request => {
        const { revoked, goodUntil } = await workloads.remove(nameOf(request), byOf(request))
        return { revoked, ...(await inForceAnswer(hosts, request.query, goodUntil)) }
      },
      { takes: inPlaceOf('workload.remove'), names: (request, on) => workloads.words(on, nameOf(request)) },
    ),

    handle(api.workloadSelf.join, async ({ body, requestId, from }) => {
      const proven = await workloads.join(body, { requestId, from })
      return sessionAnswer(deps, proven, { requestId, from })
    }),
    handle(api.workloadSelf.show, async request => describe(deps, workloadOf(request))),
    handle(api.workloadSelf.renew, async request => {
      const { body, requestId, from } = request
      const proven = await workloads.renew(workloadOf(request), body, { requestId, from })
      return sessionAnswer(deps, proven, { requestId, from })
    }),
    handle(api.workloadSelf.end, async request => {
      const { requestId, from } = request
      await workloads.leave(workloadOf(request), { requestId, from })
      return undefined
    }),
  ]
}

const nameOf = ({ params }: Named): WorkloadName => parseWorkloadName(params.name ?? '', 'name')

const tokenAnswer = ({ endsAt, ...invited }: Awaited<ReturnType<Workloads['add']>>) => ({
  ...invited,
  endsAt: endsAt.toISOString(),
})

async function sessionAnswer(
  deps: WorkloadRoutesDeps,
  { caller, proof }: Proven,
  at: { readonly requestId: string; readonly from: string },
) {
  return { session: describe(deps, caller), ...(await certificatesFor(deps, caller, { ...at, proof })) }
}

const describe = ({ config }: WorkloadRoutesDeps, { name, session, startedAt, endsAt }: Proven['caller']) => ({
  workload: name,
  session,
  organisation: config.organisation,
  startedAt: startedAt.toISOString(),
  endsAt: endsAt.toISOString(),
})
