import { createHash } from 'node:crypto'
import type { By } from '#server/access/index.ts'
import { makerOf } from '#server/identity/index.ts'
import { type Entry, EpochsChanged } from '#server/ledger/index.ts'
import { type Queryable, StoreError } from '#server/store/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { formatWorkloadToken } from '#shared/join-token.ts'
import { parseWorkloadName, placeOfWorkload, type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { goneTokens, isNameTaken, tokenFact, workloadFact, workloadNameFact } from './facts.ts'
import type { Invited, NewWorkload, WorkloadsDeps, WorkloadView } from './port.ts'
import { endTokens, insertToken, insertWorkload, lockByName, type SessionRow, type WorkloadRow } from './records.ts'
import { endsOf, factsOf, liveSession } from './snapshot.ts'

/** Only the secret's SHA-256 is kept: 256 random bits need no slower hash. */
export const hashOf = (secret: string): Uint8Array =>
  new Uint8Array(createHash('sha256').update(`keyman-workload-v1\n${secret}`).digest())

/** Everything that the workload needs stands in the token, which goes in by standard input: so no data stands in the command. */
const JOIN_COMMAND = 'keyman workload join --token-file -'

/** See the door. */
export async function addWorkload(deps: WorkloadsDeps, input: NewWorkload, by: By): Promise<Invited> {
  const name = parseWorkloadName(input.name, 'name')
  const place = placeOfWorkload(name)
  deps.assertIsThere(place)
  const row: WorkloadRow = {
    id: `workload_${toBase64Url(deps.random(16))}`,
    name,
    place,
    idle: input.idle,
    lifetime: input.lifetime,
    createdAt: deps.now(),
    createdBy: makerOf(by) ?? by.actor.kind,
    session: undefined,
    ended: undefined,
  }
  const token = newToken(deps, row.id, input.tokenLifetime, { again: false, by })
  await deps.ledger.follow()
  try {
    await deps.act(by, { name: 'workload add', changes: [workloadPrincipal(name)] }, async t => {
      if ((await lockByName(t, name)) || isNameTaken(deps.ledger.facts, name)) throw taken(name)
      await assertNothingGiven(deps, t, name, 'it would have these from its first moment on: remove them first')
      const { session: _, ended: __, ...values } = row
      await insertWorkload(t, values)
      await insertToken(t, { ...token, workload: row.id, at: deps.now() })
      const facts = [workloadFact(row), workloadNameFact(row), tokenFact(name, token)]
      const details = { idle: row.idle, lifetime: row.lifetime, tokenEndsAt: token.endsAt.toISOString() }
      await deps.ledger.appendIn(t, [
        { ...by, kind: 'workload-added', target: workloadPrincipal(name), decision: 'allow', details, facts },
      ])
      await announce(t, name)
    })
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'foreign-key')
      throw new KeymanError('conflict', `${place} was removed at this moment`, { hint: 'see keyman project list' })
    if (error instanceof StoreError && error.kind === 'unique') throw taken(name)
    throw error
  }
  return invited(deps, row, token)
}

/** A new token of one that is there. See the door. */
export async function inviteWorkload(
  deps: WorkloadsDeps,
  name: WorkloadName,
  lifetime: number,
  by: By,
): Promise<Invited> {
  await deps.ledger.follow()
  return deps.act(by, { name: 'workload token', changes: [workloadPrincipal(name)] }, async t => {
    const row = await lockedWorkload(deps, t, name)
    const token = newToken(deps, row.id, lifetime, { again: true, by })
    await endTokens(t, row.id, deps.now())
    await insertToken(t, { ...token, workload: row.id, at: deps.now() })
    const entry: Entry = {
      ...by,
      kind: 'workload-invited',
      target: workloadPrincipal(name),
      decision: 'allow',
      details: { tokenEndsAt: token.endsAt.toISOString() },
      facts: [...goneTokens(deps.ledger.facts, name), tokenFact(name, token)],
    }
    await deps.ledger.appendIn(t, [entry])
    return invited(deps, row, token)
  })
}

type Token = ReturnType<typeof newToken>
function newToken(
  deps: WorkloadsDeps,
  workload: string,
  lifetime: number,
  { again, by }: { readonly again: boolean; readonly by: By },
) {
  const secret = toBase64Url(deps.random(32))
  const endsAt = new Date(deps.now().getTime() + lifetime * 1000)
  return { secret, hash: hashOf(secret), workload, endsAt, again, maker: makerOf(by) }
}

const invited = (deps: WorkloadsDeps, row: WorkloadRow, { secret, endsAt }: Token): Invited => ({
  workload: viewOf(row, deps.now()),
  token: formatWorkloadToken({
    url: deps.machinesUrl,
    fingerprint: deps.rootFingerprint(),
    name: row.name,
    secret,
  }),
  endsAt,
  command: JOIN_COMMAND,
})

/** Notifications go out with the commit: of what there is for decisions, too. */
export async function announce(t: Queryable, name: WorkloadName): Promise<void> {
  await t.execute(`select pg_notify('workloads', $1), pg_notify('access', 'workload')`, [name])
}

/** As it is in this transaction, and as the log says it is; where the two differ, the log may not have been followed so far. */
export async function lockedWorkload(deps: WorkloadsDeps, t: Queryable, name: WorkloadName): Promise<WorkloadRow> {
  const row = await lockByName(t, name)
  if (!row) throw isNameTaken(deps.ledger.facts, name) ? hidden(name) : noSuchWorkload(name)
  if (!deps.ledger.facts.holds(workloadFact(row))) throw new EpochsChanged()
  return row
}

/** With its session, while that lasts: of which a record is about to say something, which then counts. */
export async function lockedSession(deps: WorkloadsDeps, t: Queryable, name: WorkloadName): Promise<WorkloadRow> {
  const row = await lockedWorkload(deps, t, name)
  if (factsOf(row, deps.now()).some(fact => !deps.ledger.facts.holds(fact))) throw new EpochsChanged()
  return row
}

export async function assertNothingGiven(
  deps: WorkloadsDeps,
  t: Queryable,
  name: WorkloadName,
  hint: string,
): Promise<void> {
  const given = await deps.grantsTo(t, workloadPrincipal(name))
  if (given.length === 0) return
  throw new KeymanError('conflict', `something is given to workload:${name}: ${given.join(', ')}`, { hint })
}

export const viewOf = (row: WorkloadRow, now: Date): WorkloadView => {
  const { name, place, idle, lifetime, createdBy, session } = row
  const view = { name, in: place, idle, lifetime, createdBy, createdAt: row.createdAt.toISOString() }
  if (!session) {
    const { ended } = row
    return { ...view, state: ended === undefined ? 'invited' : 'ended', ...(ended === undefined ? {} : { ended }) }
  }
  const { endsAt, idleEndsAt } = endsOf(row, session)
  const isLive = liveSession(row, now) !== undefined
  return {
    ...view,
    state: isLive ? 'active' : 'ended',
    joinedAt: session.joinedAt.toISOString(),
    renewedAt: session.renewedAt.toISOString(),
    ...(session.from === undefined ? {} : { from: session.from }),
    endsAt: endsAt.toISOString(),
    idleEndsAt: new Date(Math.min(endsAt.getTime(), idleEndsAt.getTime())).toISOString(),
    ...(isLive ? {} : { ended: overBy(row, session, now) }),
  }
}

/** Why a session is over by the clock. */
export const overBy = (row: WorkloadRow, session: SessionRow, now: Date): string =>
  endsOf(row, session).endsAt <= now ? 'its time was over' : 'it was not renewed in time'

const taken = (name: WorkloadName): KeymanError =>
  new KeymanError('conflict', `there is a workload ${name} already`, {
    hint: `see keyman workload show ${name}; keyman workload token ${name} makes a new token for it`,
  })
export const noSuchWorkload = (name: WorkloadName): KeymanError =>
  new KeymanError('not-found', `there is no workload ${name}`, { hint: 'keyman workload list shows all workloads' })
const hidden = (name: WorkloadName): KeymanError =>
  new KeymanError('conflict', `the database does not say of ${name} what the audit log says`, {
    hint: `keyman workload end ${name} ends its session all the same; an operator has to look at the database`,
  })
