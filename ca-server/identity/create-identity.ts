import { serverSecret } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { createAct } from './acting.ts'
import { createActions } from './actions.ts'
import { callerFromCookie, certificateCallers } from './callers.ts'
import { endSessions } from './end-sessions.ts'
import { createEnrolment } from './enrolment.ts'
import { identityWords } from './in-words.ts'
import { createLogins } from './logins.ts'
import { createPasskeys } from './passkeys.ts'
import { selectPerson, selectRelyingParty } from './person-records.ts'
import { createPersons } from './persons.ts'
import type { BrowserCaller, Caller, HostCaller, Identity, IdentityDeps, MachineCaller, PersonCaller } from './port.ts'
import { createProofs } from './proofs.ts'
import type { Room } from './room.ts'
import { createSessionList } from './session-list.ts'
import { ended, Sessions } from './sessions.ts'
import { createSignIns } from './sign-ins.ts'
import { createTouches } from './touches.ts'
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

  function reload(caller: MachineCaller): Promise<MachineCaller>
  function reload(caller: BrowserCaller): Promise<BrowserCaller>
  function reload(caller: HostCaller): Promise<HostCaller>
  function reload(caller: PersonCaller): Promise<PersonCaller>
  function reload(caller: Caller): Promise<Caller>
  async function reload(caller: Caller): Promise<Caller> {
    if (caller.kind === 'person') {
      const loaded = await sessions.load(caller.session, caller.identity)
      if (loaded.via !== caller.via) throw ended()
      return loaded
    }
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
        administrator: caller.administrator,
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
