import type { Fact } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import type { PersonIdentity } from '#shared/names.ts'
import type { BrowserCaller } from '../caller.ts'
import type { SignedIn, SignIns } from '../port.ts'
import { boundSignIns } from '../records/challenge-records.ts'
import { gone, sessionFact, sessionId } from '../records/facts.ts'
import { touchLogin } from '../records/person-records.ts'
import { hashSecret, newSecret, newSessionId } from '../records/secrets.ts'
import {
  announceChange,
  endSessionRows,
  insertSession,
  type SessionRow,
  selectSessionByCookie,
} from '../records/session-records.ts'
import { vouchedSession } from '../records/vouched.ts'
import { addSeconds, type Room } from '../room.ts'
import { endSessions } from '../sessions/end-sessions.ts'
import { ended } from '../sessions/sessions.ts'
import type { Act } from '../standing.ts'
import { actByPasskey } from '../touches/acting.ts'
import { beginAssertion, checkAssertion } from '../webauthn/assertions.ts'

/** Of a browser's session, in seconds; it ends earlier when it is idle. */
const BROWSER_LIFETIME = 12 * 3600
/** Ceremonies between two looks at how many there are. */
const LOOK_EVERY = 50

/** Signing in to the pages. There is no session that the challenge could be bound to: it is bound to this purpose, and used once. */
export function createSignIns(room: Room, act: Act): SignIns {
  const { deps } = room
  const SUBJECT = 'pages'
  let begun = 0
  return {
    async options() {
      if (begun++ % LOOK_EVERY === 0) await boundSignIns(deps.store)
      return beginAssertion(room, { purpose: 'sign-in', subject: SUBJECT })
    },

    async complete(json, at, cookie) {
      const { passkey, person, evidence, used } = await checkAssertion(room, json, {
        purpose: 'sign-in',
        subject: SUBJECT,
        at,
      })
      // A cookie from before the sign-in says nothing any more: what somebody may have planted there is worth nothing.
      const old = cookie === undefined ? undefined : await sessionOf(room, hashSecret(cookie))
      const changes = old ? [`session:${old.id}`] : []
      const begun = await actByPasskey(room, { name: 'sign-in', passkey, changes }, async t => {
        if (old) await endSessionRows(t, { session: old.id }, deps.now())
        await announceChange(t, changes)
        const session = await beginBrowserSession(room, t, { person, passkey: passkey.id, from: at.from })
        await touchLogin(t, person, deps.now())
        await deps.ledger.appendIn(t, [
          {
            requestId: at.requestId,
            kind: 'login',
            actor: { kind: 'person', identity: person, session: session.id },
            target: session.id,
            decision: 'allow',
            from: at.from,
            details: { flow: 'browser', origin: room.rp.origin, assertion: evidence },
            // Whatever became of its row.
            facts: [used, session.fact, ...(old ? [gone(sessionId(old.id))] : [])],
          },
        ])
        return session
      })
      return signedIn(room, begun, person)
    },

    async end(by) {
      const { session } = by.standing.caller
      await act(by, { name: 'sign-out', changes: [`session:${session}`], ends: true }, async t => {
        const { facts } = await endSessions(room, t, { session })
        await deps.ledger.appendIn(t, [{ ...by, kind: 'logout', target: session, facts }])
      })
      await room.sessions.refresh()
    },
  }
}

/** The session that the log says has this cookie. */
async function sessionOf(room: Room, cookieHash: Uint8Array): Promise<SessionRow | undefined> {
  const found = await selectSessionByCookie(room.deps.store, cookieHash)
  const row = found && (await vouchedSession(room, found.id))
  return row?.cookieHash && equalBytes(row.cookieHash, cookieHash) ? row : undefined
}

type Begun = { readonly id: string; readonly cookie: string; readonly fact: Fact }

/** The last statements of the caller's transaction follow; the passkey was touched just now. */
export async function beginBrowserSession(
  { deps }: Room,
  t: Queryable,
  of: { readonly person: PersonIdentity; readonly passkey: string; readonly from: string },
): Promise<Begun> {
  const cookie = newSecret(deps.random)
  const id = newSessionId(deps.random)
  const at = deps.now()
  const session = {
    ...of,
    id,
    device: 'browser',
    cookieHash: cookie.hash,
    startedAt: at,
    endsAt: addSeconds(at, BROWSER_LIFETIME),
    assertedAt: at,
  }
  await insertSession(t, session)
  return { id, cookie: cookie.text, fact: sessionFact(session) }
}

export async function signedIn({ sessions }: Room, begun: Begun, person: PersonIdentity): Promise<SignedIn> {
  const caller = await sessions.load(begun.id, person)
  if (caller.via !== 'browser') throw ended()
  return { cookie: begun.cookie, caller: caller satisfies BrowserCaller }
}
