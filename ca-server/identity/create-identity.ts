import { serverSecret } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type {
  ActingCaller,
  BrowserCaller,
  Caller,
  HostCaller,
  MachineCaller,
  PersonCaller,
  SessionCaller,
  WorkloadCaller,
} from './caller.ts'
import { identityWords } from './in-words.ts'
import { createEnrolment } from './login/enrolment.ts'
import { createLogins } from './login/logins.ts'
import { createProofs } from './login/proofs.ts'
import { createSignIns } from './login/sign-ins.ts'
import { createPasskeys } from './passkeys.ts'
import { createPersons } from './persons.ts'
import type { Identity, IdentityDeps } from './port.ts'
import { selectPerson, selectRelyingParty } from './records/person-records.ts'
import { sweep } from './records/session-records.ts'
import type { Room } from './room.ts'
import { callerFromCookie, certificateCallers } from './sessions/callers.ts'
import { endSessions } from './sessions/end-sessions.ts'
import { createSessionList } from './sessions/session-list.ts'
import { ended, Sessions } from './sessions/sessions.ts'
import { createAct } from './touches/acting.ts'
import { createActions } from './touches/actions.ts'
import { createTouches } from './touches/touches.ts'
import type { RelyingParty } from './webauthn.ts'

/** Throws `conflict` where the passkeys in the database are for another host than `publicUrl`'s. */
export async function createIdentity(deps: IdentityDeps): Promise<Identity> {
  const url = new URL(deps.publicUrl)
  const rp: RelyingParty = { id: url.hostname, name: deps.organisation, origin: url.origin }
  await assertRelyingParty(deps, rp)
  const sessions = new Sessions(deps)
  const challengeKey = await serverSecret(deps, 'challenge')
  const room: Room = { deps, rp, sessions, ceremonyKey: challengeKey }
  const proofs = createProofs(deps, challengeKey)

  function reload(caller: WorkloadCaller): Promise<WorkloadCaller>
  function reload(caller: MachineCaller): Promise<MachineCaller>
  function reload(caller: SessionCaller): Promise<SessionCaller>
  function reload(caller: BrowserCaller): Promise<BrowserCaller>
  function reload(caller: HostCaller): Promise<HostCaller>
  function reload(caller: PersonCaller): Promise<PersonCaller>
  function reload(caller: ActingCaller): Promise<ActingCaller>
  function reload(caller: Caller): Promise<Caller>
  async function reload(caller: Caller): Promise<Caller> {
    if (caller.kind === 'person') {
      const loaded = await sessions.load(caller.session, caller.identity)
      if (loaded.via !== caller.via) throw ended()
      return loaded
    }
    if (caller.kind === 'workload') return deps.workloads.reload(caller)
    const found = deps.resolveHost(caller.name, caller.clientSpki)
    if (!found) throw new KeymanError('not-signed-in', `${caller.name} is not a host of this organisation any more`)
    return { ...caller, ...found }
  }

  const act = createAct(room, reload)
  return {
    act,
    proofs,
    logins: createLogins(room, proofs),
    signIns: createSignIns(room, act),
    enrolment: createEnrolment(room, act),
    passkeys: createPasskeys(room, act),
    actions: createActions(room),
    touches: createTouches(room, act, await serverSecret(deps, 'answers')),
    words: identityWords(deps),
    persons: createPersons(room, act),
    sessions: createSessionList(room),

    start: () => sessions.start(),
    stop: () => sessions.stop(),
    callerFromClientCertificate: certificateCallers(room),
    callerFromCookie: cookie => callerFromCookie(room, cookie),
    reload,
    async describe(caller) {
      const person = await selectPerson(deps.store, caller.identity)
      return {
        person: caller.identity,
        session: caller.session,
        owner: caller.owner,
        startedAt: caller.startedAt.toISOString(),
        endsAt: caller.endsAt.toISOString(),
        assertedAt: caller.assertedAt.toISOString(),
        passkeys: person?.passkeys ?? 0,
        organisation: deps.organisation,
        device: caller.device,
      }
    },
    endSessions: (t, by) => endSessions(room, t, by),
    refresh: () => sessions.refresh(),
    sweep: fence => sweep(deps.store, deps.now(), fence, deps.ledger),
  }
}

/** Passkeys are bound to the RP ID: under another name nobody could sign in, and each would seem to be lost. */
async function assertRelyingParty({ store }: IdentityDeps, rp: RelyingParty): Promise<void> {
  const fixed = await selectRelyingParty(store)
  if (fixed && fixed.id !== rp.id)
    throw new KeymanError(
      'conflict',
      `the passkeys here were made for ${fixed.id} (${fixed.origin}) and work under no other name, but public_url is now at ${rp.id}`,
      { hint: `set public_url back to a URL of ${fixed.id}` },
    )
}
