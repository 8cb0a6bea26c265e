import type { Caller, MachineCaller, PersonCaller } from '#server/identity/index.ts'
import type { Actor } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { ApiRequest } from './handle.ts'

/** The edge lets only the callers in that a route names; with these the types learn of it. */
type Asked = ApiRequest<unknown, unknown>

export function personOf({ caller }: Asked): PersonCaller {
  if (caller?.kind === 'person') return caller
  throw new KeymanError('denied', 'this is for persons alone')
}

export function machineOf(request: Asked): MachineCaller {
  const person = personOf(request)
  if (person.via === 'machine') return person
  throw new KeymanError('denied', 'this is for a machine that has signed in, not for a browser')
}

/** On whose behalf, for the ledger. */
export const byOf = ({ caller, requestId, from }: Asked) => ({ actor: actorOf(caller), requestId, from })

function actorOf(caller: Caller | undefined): Actor {
  if (caller?.kind === 'person') return { kind: 'person', identity: caller.identity, session: caller.session }
  return caller?.kind === 'host' ? { kind: 'host', name: caller.name } : { kind: 'anonymous' }
}
