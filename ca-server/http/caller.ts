import {
  type ActingCaller,
  type By,
  byPerson,
  byWorkload,
  type HostCaller,
  type MachineCaller,
  type NamedSession,
  type PersonBy,
  type PersonCaller,
  type WorkloadCaller,
} from '#server/identity/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { ApiRequest } from './handle.ts'

/** The edge lets only the callers in that a route names; with these the types learn of it. */
type Asked = ApiRequest<unknown, unknown>

export function personOf({ caller }: Asked): PersonCaller {
  if (caller?.kind === 'person') return caller
  throw new KeymanError('denied', 'this is for persons alone')
}

/** Of what takes a role, or a session: who may have one. */
export function actingOf({ caller }: Asked): ActingCaller {
  if (caller?.kind === 'person' || caller?.kind === 'workload') return caller
  throw new KeymanError('denied', 'this is for persons and workloads alone')
}

export function workloadOf({ caller }: Asked): WorkloadCaller {
  if (caller?.kind === 'workload') return caller
  throw new KeymanError('denied', 'this is for workloads alone')
}

export function hostOf({ caller }: Asked): HostCaller {
  if (caller?.kind === 'host') return caller
  throw new KeymanError('denied', 'only hosts may do this')
}

export function machineOf(request: Asked): MachineCaller {
  const person = personOf(request)
  if (person.via === 'machine') return person
  throw new KeymanError('denied', 'this is for a machine that has signed in, not for a browser')
}

/** The session that asks, as it is named to be ended. */
export const ownSession = (caller: PersonCaller): NamedSession => ({
  id: caller.session,
  person: caller.identity,
  device: caller.device,
  ...(caller.via === 'machine' ? { sshKey: caller.ssh.fingerprint } : {}),
})

/** On whose behalf. What a person does is done by `identity.act`, which looks once more whether the person may. */
export function byOf(request: Asked): By {
  const { caller, requestId, from } = request
  if (caller?.kind === 'person') return byPersonOf(request)
  if (caller?.kind === 'workload') return byWorkload(caller, request, request)
  const actor = caller ? ({ kind: 'host', name: caller.name } as const) : ({ kind: 'anonymous' } as const)
  return { actor, requestId, from }
}

export const byPersonOf = (request: Asked): PersonBy => byPerson(personOf(request), request, request)
