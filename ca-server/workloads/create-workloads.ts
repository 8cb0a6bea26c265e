import { SupersededKey } from '#server/identity/index.ts'
import { EpochsChanged } from '#server/ledger/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { changeWorkload, endIn, removeWorkload } from './change-workload.ts'
import { isNameTaken, sessionFact, sessionId, workloadFact } from './facts.ts'
import { joinWorkload } from './join-workload.ts'
import { addWorkload, inviteWorkload, noSuchWorkload, viewOf } from './name-workload.ts'
import type { Proven, Workloads, WorkloadsDeps } from './port.ts'
import { lockByName, selectLiving } from './records.ts'
import { leaveWorkload, type Renewed, renewWorkload, ringFor } from './renew.ts'
import {
  callerOf,
  endsOf,
  factsOf,
  namedWorkloads,
  sessionOver,
  vouchedWorkloads,
  WorkloadSnapshot,
} from './snapshot.ts'
import { openTokens } from './tokens-in-words.ts'

export function createWorkloads(deps: WorkloadsDeps): Workloads {
  const { ledger, now } = deps
  const snapshot = new WorkloadSnapshot(deps)

  /** Here at once, elsewhere by the notification. */
  const changed = async <T>(name: WorkloadName, result: Promise<T>): Promise<T> => {
    const value = await result
    await snapshot.reload(name)
    return value
  }
  /** Whoever has just begun or renewed a session for this client key: somebody else may have done so since. */
  async function proven({ name, proof, clientSpki }: Renewed): Promise<Proven> {
    await snapshot.reload(name)
    const known = snapshot.find(name)
    if (!known?.session || !equalBytes(known.session.clientSpki, clientSpki)) throw sessionOver()
    return { caller: callerOf(known, known.session, known.epoch), proof }
  }
  const ring: Workloads['ring'] = (key, at) => changed(key.workload, ringFor(deps, key, at))

  return {
    start: () => snapshot.start(),
    stop: () => snapshot.stop(),
    names: async () => (await namedWorkloads(deps)).map(({ name }) => name),
    async isWorkload(t, name) {
      const row = await lockByName(t, name)
      return row !== undefined && ledger.facts.holds(workloadFact(row))
    },

    list: async () => (await vouchedWorkloads(deps)).map(row => viewOf(row, now())),
    async show(name) {
      const [row] = await vouchedWorkloads(deps, [name])
      if (!row) throw noSuchWorkload(name)
      return viewOf(row, now())
    },
    add: (workload, by) => addWorkload(deps, workload, by),
    invite: (name, tokenLifetime, by) => inviteWorkload(deps, name, tokenLifetime, by),
    change: (name, change, by) => changed(name, changeWorkload(deps, name, change, by)),
    remove: (name, by) => changed(name, removeWorkload(deps, name, by)),
    async words(on, name) {
      const [row] = await selectLiving(on, [name])
      const given = await deps.given(on, workloadPrincipal(name))
      if (!row || factsOf(row, now()).some(fact => !ledger.facts.holds(fact))) {
        if (!isNameTaken(ledger.facts, name)) throw noSuchWorkload(name)
        return [
          { name: 'Workload', value: `${name}: the database does not say what the audit log says of it` },
          ...given,
        ]
      }
      const { state, joinedAt, from } = viewOf(row, now())
      return [
        { name: 'Workload', value: `${name}, made by ${row.createdBy}` },
        {
          name: 'Its session',
          value:
            joinedAt === undefined ? 'none' : `${state}, since ${joinedAt}, last from ${from ?? 'an unknown address'}`,
        },
        ...(await openTokens(deps, on, row)),
        ...given,
      ]
    },

    async join(request, at) {
      return proven(await joinWorkload(deps, request, at))
    },
    async renew(caller, request, at) {
      try {
        return await proven(await renewWorkload(deps, caller, request, at))
      } catch (error) {
        if (error instanceof SupersededKey) await ring(error, at)
        throw error
      }
    },
    leave: (caller, at) => changed(caller.name, leaveWorkload(deps, caller, at)),
    ring,

    resolve: snapshot.resolve,
    async reload(caller) {
      await snapshot.reload(caller.name)
      return snapshot.resolve(caller)
    },
    async assertStands(t, caller) {
      const row = await lockByName(t, caller.name)
      if (row?.session?.id !== caller.session || ledger.facts.isGone(sessionId(caller.name, caller.session)))
        throw sessionOver()
      // What counts is what the log vouches for; where it does not yet, it is read anew.
      const { endsAt, idleEndsAt } = endsOf(row, row.session)
      if (!ledger.facts.holds(workloadFact(row)) || !ledger.facts.holds(sessionFact(row, row.session)))
        throw new EpochsChanged()
      if (endsAt <= now() || idleEndsAt <= now()) throw sessionOver()
      if (!equalBytes(row.session.clientSpki, caller.clientSpki)) throw new EpochsChanged()
    },

    assertIsThere(name) {
      if (!isNameTaken(ledger.facts, name)) throw noSuchWorkload(name)
    },
    endIn: (t, name, why) => endIn(deps, t, name, why),
  }
}
