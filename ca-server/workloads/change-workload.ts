import type { By } from '#server/access/index.ts'
import { sessionKeyFact, sessionKeysOf } from '#server/identity/index.ts'
import { endedFact, type Fact } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { decodePublicKey, fingerprint } from '#shared/ssh/index.ts'
import { goneSessions, goneTokens, goneWorkload, idOfName, workloadFact } from './facts.ts'
import { announce, assertNothingGiven, lockedSession, noSuchWorkload, overBy, viewOf } from './name-workload.ts'
import type { WorkloadChange, WorkloadsDeps, WorkloadView } from './port.ts'
import { clearSession, endTokens, lockByName, setLimits, setRemoved, type WorkloadRow } from './records.ts'
import { endsOf, liveSession } from './snapshot.ts'

/** See the door. */
export async function changeWorkload(
  deps: WorkloadsDeps,
  name: WorkloadName,
  { idle, lifetime }: WorkloadChange,
  by: By,
): Promise<WorkloadView> {
  const { ledger, now } = deps
  await ledger.follow()
  const target = workloadPrincipal(name)
  return deps.act(by, { name: 'workload change', changes: [target] }, async t => {
    const before = await lockedSession(deps, t, name)
    const after: WorkloadRow = { ...before, idle: idle ?? before.idle, lifetime: lifetime ?? before.lifetime }
    if (after.idle === before.idle && after.lifetime === before.lifetime)
      throw new KeymanError('conflict', `${name} is so already`, { hint: `see keyman workload show ${name}` })
    await setLimits(t, before.id, after)
    // What is over by what held until now stays over, however long others may last from now on.
    const until = liveSession(before, now()) ? after : before
    const session = liveSession(until, now())
    const ended = before.session && !session ? overBy(until, before.session, now()) : before.ended
    if (ended !== before.ended) await clearSession(t, name, ended ?? '')
    // Nor do its certificates last longer than it does, where it is over by this very change.
    const { entries } = session ? { entries: [] } : await deps.revokeAllIn(t, target, by)
    const facts = [
      workloadFact(after),
      ...(session ? [] : goneSessions(ledger.facts, name)),
      ...keyFacts(deps, after, session),
    ]
    const said = { idle: after.idle, lifetime: after.lifetime }
    const details = { ...said, before: { idle: before.idle, lifetime: before.lifetime } }
    await ledger.appendIn(t, [
      ...entries,
      { ...by, kind: 'workload-changed', target, decision: 'allow', details, facts },
    ])
    await announce(t, name)
    return viewOf({ ...after, session, ended }, now())
  })
}

/** The key of its session, until when something may be certified for it: see `sessionKeyFact`. */
function keyFacts({ ledger }: WorkloadsDeps, row: WorkloadRow, session: WorkloadRow['session']): Fact[] {
  if (!session) return []
  const principal = workloadPrincipal(row.name)
  const key = fingerprint(decodePublicKey(session.sshKey))
  const known = sessionKeyFact(principal, key, endsOf(row, session).endsAt)
  const all = sessionKeysOf(ledger.facts.ids, principal)
  if (!all.some(each => each.fingerprint === key)) return []
  const others = all.filter(({ id }) => id !== known.id)
  return [known, ...others.map(({ id }) => ({ id, is: null }))]
}

/** See the door. */
export async function removeWorkload(deps: WorkloadsDeps, name: WorkloadName, by: By) {
  const { ledger, now } = deps
  await ledger.follow()
  const id = idOfName(ledger.facts, name)
  if (id === undefined) throw noSuchWorkload(name)
  const principal = workloadPrincipal(name)
  return deps.act(by, { name: 'workload remove', changes: [principal] }, async t => {
    await assertNothingGiven(deps, t, name, 'remove these first: keyman grant remove ID')
    // By the log: a trigger may keep the row as it is, which counts for nothing from now on.
    const { facts } = await endIn(deps, t, name, 'it was removed')
    await setRemoved(t, id, now())
    const { entries, goodUntil, revoked } = await deps.revokeAllIn(t, principal, by)
    await ledger.appendIn(t, [
      ...entries,
      {
        ...by,
        kind: 'workload-removed',
        target: principal,
        decision: 'allow',
        details: { revoked },
        facts: [...facts, ...goneWorkload({ id, name })],
      },
    ])
    return { revoked, goodUntil }
  })
}

/** See `WorkloadEnds.endIn`. */
export async function endIn(deps: WorkloadsDeps, t: Queryable, name: WorkloadName, why: string) {
  const row = await lockByName(t, name)
  const id = idOfName(deps.ledger.facts, name) ?? row?.id
  await clearSession(t, name, why)
  if (id !== undefined) await endTokens(t, id, deps.now())
  await announce(t, name)
  // With what it has made and nobody has used: whoever had its session may have made that.
  const sessions = goneSessions(deps.ledger.facts, name)
  const facts = [endedFact(workloadPrincipal(name)), ...sessions, ...goneTokens(deps.ledger.facts, name)]
  return { sessions: sessions.length, facts }
}
