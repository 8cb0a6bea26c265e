import { EpochsChanged, isEndedWithAll } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { isSubjectPrincipal, type SubjectPrincipal } from '#shared/names.ts'
import type { ActingCaller, Epoch, PersonCaller, WorkloadCaller } from '../caller.ts'
import { isPasskeyGone, personFact, sessionFact, sessionId } from '../records/facts.ts'
import { isPasskeyOf, lockPerson } from '../records/person-records.ts'
import { selectSession, selectStanding } from '../records/session-records.ts'
import { inTransaction, type Room } from '../room.ts'
import { ended } from '../sessions/sessions.ts'
import type { Act, By, PersonBy, Role, Standing, WorkloadBy } from '../standing.ts'
import { anew, assertRoleHolds } from './under-role.ts'

/**
 * The room's `act`: the one way to do something in somebody's name. Whoever asks was let in before the transaction, and may have
 * been disabled, signed out or lost a role or passkey since; so the transaction first takes the epochs that the caller was read
 * with, in the order that everybody takes them in, and reads again what it relies on. Whatever takes a standing away bumps one
 * of these epochs first: it either waits until this has committed, and then finds what was made here, or was there before, and
 * is seen.
 */
export function createAct(room: Room, reload: (caller: ActingCaller) => Promise<ActingCaller>): Act {
  const { ledger } = room.deps
  return async (by, how, work) => {
    const { standing } = by
    let caller = standing?.caller
    let role = standing?.role
    return anew(
      // Both name the person's: where one of the two is of another time, they can't both be right.
      async () => [...(caller?.epochs ?? []), ...(role?.epochs ?? [])],
      async share => {
        try {
          return await inTransaction(room, how.name, how.deadlineMs, async t => {
            const roles = how.roles ?? []
            if (roles.length > 0) await ledger.takeEpochs(t, { bump: roles })
            const teams = typeof how.teams === 'function' ? await how.teams(t) : (how.teams ?? [])
            if (teams.length > 0) await ledger.takeEpochs(t, { bump: teams })
            const bump = typeof how.changes === 'function' ? await how.changes(t) : how.changes
            await ledger.takeEpochs(t, { share, ...(bump === undefined ? {} : { bump }) })
            const changed = [...roles, ...teams, ...(bump ?? [])]
            if (standing && caller) await assertStanding(room, t, { caller, role, changed, ends: how.ends ?? false })
            await standing?.consent?.use(t, by.requestId)
            return work(t)
          })
        } catch (error) {
          if (error instanceof EpochsChanged && caller) {
            caller = await reload(caller)
            role = await role?.again()
          }
          throw error
        }
      },
    )
  }
}

async function assertStanding(
  room: Room,
  t: Queryable,
  {
    caller,
    role,
    changed,
    ends,
  }: {
    readonly caller: ActingCaller
    readonly role: Role | undefined
    /** Whose epochs were changed. */
    readonly changed: readonly string[]
    readonly ends: boolean
  },
): Promise<void> {
  const { ledger } = room.deps
  if (caller.kind === 'workload') await room.deps.workloads.assertStands(t, caller)
  else await assertSession(room, t, caller, ends)
  // What somebody gives hangs on what others have, whose epochs are taken by now.
  if (!ends) await assertRoleHolds(ledger, t, role, [...changed, ...caller.epochs.map(({ subject }) => subject)])
}

/** `ends`: it only ends what is the caller's own. */
async function assertSession({ deps }: Room, t: Queryable, caller: PersonCaller, ends: boolean): Promise<void> {
  const found = await selectStanding(t, caller, deps.now())
  if (!found?.isOpen || !found.isActive) throw ended()
  // What has ended by the log has ended: a row may have been kept, or put back.
  const { facts } = deps.ledger
  const session = sessionId(caller.session)
  if (facts.isGone(session) || isEndedWithAll(facts, session, caller.identity)) throw ended()
  // Ending what is one's own is never refused for want of anything else.
  if (ends) return
  // By which passkey, and whether it is an owner's, says a row that the log vouches for; where it does not yet, it is read anew.
  const row = await selectSession(t, caller.session)
  const isKnown = row?.id === caller.session && row.person === caller.identity && facts.holds(sessionFact(row))
  if (!isKnown || !facts.holds(personFact({ ...row, identity: row.person }))) throw new EpochsChanged()
  if (row.owner !== caller.owner) throw new EpochsChanged()
  if (row.endsAt <= deps.now()) throw ended()
  if (!found.hasPasskey || (row.passkey !== undefined && isPasskeyGone(facts, { id: row.passkey, person: row.person })))
    throw new KeymanError('not-signed-in', 'the passkey by which this session was signed in was removed', {
      hint: 'sign in again: keyman login',
    })
}

/**
 * The same for whoever has just touched a passkey, and whom no session stands for yet: the passkey is still there and the person
 * active when what was touched for comes to be.
 */
export function actByPasskey<T>(
  room: Room,
  {
    name,
    passkey,
    changes = [],
  }: { name: string; passkey: { id: string; person: PersonCaller['identity'] }; changes?: readonly string[] },
  work: (t: Queryable) => Promise<T>,
): Promise<T> {
  const { ledger } = room.deps
  return anew(
    () => epochsOf(room, [`person:${passkey.person}`]),
    share =>
      inTransaction(room, name, undefined, async t => {
        await ledger.takeEpochs(t, { share, bump: changes })
        if ((await lockPerson(t, passkey.person))?.state !== 'active') throw ended()
        if (!(await isPasskeyOf(t, passkey.person, passkey.id)) || isPasskeyGone(ledger.facts, passkey))
          throw new KeymanError('denied', 'this passkey was removed', { hint: 'use another passkey' })
        return work(t)
      }),
  )
}

export const epochsOf = async ({ deps }: Room, subjects: readonly string[]): Promise<Epoch[]> =>
  [...(await deps.ledger.readEpochs(subjects))].map(([subject, epoch]) => ({ subject, epoch }))

/** On whose behalf, for rooms and for the ledger; `role`: where what is done takes one. */
export const byPerson = (
  caller: PersonCaller,
  { role, consent }: Pick<Standing, 'role' | 'consent'>,
  at: { readonly requestId: string; readonly from?: string },
): PersonBy => ({
  requestId: at.requestId,
  ...(at.from === undefined ? {} : { from: at.from }),
  actor: {
    kind: 'person',
    identity: caller.identity,
    session: caller.session,
    ...(consent === undefined ? {} : { consent: consent.id }),
  },
  standing: { caller, role, consent },
})

/** The same of a workload, which touches nothing. */
export const byWorkload = (
  caller: WorkloadCaller,
  { role }: Pick<Standing, 'role'>,
  at: { readonly requestId: string; readonly from?: string },
): WorkloadBy => ({
  requestId: at.requestId,
  ...(at.from === undefined ? {} : { from: at.from }),
  actor: { kind: 'workload', identity: caller.principal, session: caller.session },
  standing: { caller, role },
})

/** Who did it, by the name that grants give them something under: nobody where that was the server, an operator or a host. */
export const makerOf = ({ actor }: Pick<By, 'actor'>): SubjectPrincipal | undefined =>
  'identity' in actor && isSubjectPrincipal(actor.identity) ? actor.identity : undefined
