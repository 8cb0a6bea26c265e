import { timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { actionChallenge } from '#shared/login-challenge.ts'
import type { Actions, ActionTransaction } from '../port.ts'
import { type ActionRow, answerAction, countActionAttempt, selectAction } from '../records/action-records.ts'
import { sessionFact, touchFact } from '../records/facts.ts'
import { selectPasskeys } from '../records/person-records.ts'
import { hashSecret, newSecret, sha256 } from '../records/secrets.ts'
import { announceChange, selectSession, touchAssertion } from '../records/session-records.ts'
import { vouchedSession } from '../records/vouched.ts'
import type { Room } from '../room.ts'
import { ended } from '../sessions/sessions.ts'
import { beginAssertion, checkAssertion, keyText } from '../webauthn/assertions.ts'
import { actByPasskey } from './acting.ts'
import { isAskedAs } from './action-id.ts'

const MAX_ATTEMPTS = 10
const lines = z.array(z.tuple([z.string(), z.string()]))

/** Consent (invariants 7 and 24): the passkey signs what is shown of one request, for one session and client key. */
export function createActions(room: Room): Actions {
  const { deps } = room
  const { store, now, random } = deps

  async function waiting(id: string): Promise<ActionRow> {
    const action = await find(room, id)
    if (action.state !== 'waiting') throw tooLate('this was answered already')
    if (action.endsAt <= now()) throw tooLate('this has ended')
    return action
  }

  return {
    async show(id) {
      const action = await find(room, id)
      if (action.state === 'waiting' && action.endsAt <= now()) throw tooLate('this has ended')
      return toView(action)
    },

    async options(id) {
      const action = await waiting(id)
      if (!(await countActionAttempt(store, id, MAX_ATTEMPTS)))
        throw new KeymanError('too-many-requests', 'this was tried too often', { hint: 'run the command again' })
      const own = await selectPasskeys(store, action.person)
      return beginAssertion(
        room,
        { purpose: 'action', subject: id, challengeFor: nonce => challengeOf(action, nonce) },
        own,
      )
    },

    async confirm(id, json, at, cookie) {
      const action = await waiting(id)
      const asking = await vouchedSession(room, action.session)
      if (!asking) throw ended()
      // What a browser asked for is confirmed in that browser: its cookie changes with its assurance.
      const isBrowser = asking.cookieHash !== undefined
      if (asking.cookieHash && !(cookie !== undefined && timingSafeEqual(hashSecret(cookie), asking.cookieHash)))
        throw new KeymanError('denied', 'this was asked for by another browser', { hint: 'confirm it there' })
      const { evidence, passkey, used } = await checkAssertion(room, json, {
        purpose: 'action',
        subject: id,
        at,
        person: action.person,
        challengeFor: nonce => challengeOf(action, nonce),
      })
      const fresh = isBrowser ? newSecret(random) : undefined
      await actByPasskey(room, { name: 'confirm', passkey }, async t => {
        // What is said of the session below is what was said of it before, but for this touch.
        const before = await selectSession(t, action.session)
        const isMeant = before?.id === action.session && before.person === passkey.person
        if (!isMeant || !deps.ledger.facts.holds(sessionFact(before)))
          throw new KeymanError('conflict', 'the session changes at this moment', { hint: 'load the page again' })
        if (!(await answerAction(t, id, 'confirmed', now()))) throw tooLate('this was answered already')
        if (!(await touchAssertion(t, { id: action.session, at: now(), passkey: passkey.id, cookieHash: fresh?.hash })))
          throw ended()
        await announceChange(t, [`session:${action.session}`])
        // Not as the row says now, or the log would come to say whatever somebody makes of it at this moment.
        const session = { ...before, passkey: passkey.id, cookieHash: fresh?.hash ?? before.cookieHash }
        const { nonce, ...assertion } = evidence
        await deps.ledger.appendIn(t, [
          {
            requestId: at.requestId,
            kind: 'assertion',
            actor: { kind: 'person', identity: action.person, session: action.session },
            target: action.id,
            decision: 'allow',
            from: at.from,
            details: {
              action: action.action,
              askedFrom: action.askedFrom,
              challenge: {
                nonce,
                action: action.action,
                request: keyText(action.request),
                shown: action.shown,
                session: action.session,
                device: action.device,
                clientSpki: keyText(keyOf(action)),
              },
              assertion,
            },
            facts: [used, sessionFact(session), touchFact(action)],
          },
        ])
      })
      await room.sessions.refresh()
      return { transaction: toView({ ...action, state: 'confirmed' }), cookie: fresh?.text }
    },

    async refuse(id) {
      const action = await waiting(id)
      if (!(await answerAction(store, id, 'refused', now()))) throw tooLate('this was answered already')
      return toView({ ...action, state: 'refused' })
    },
  }
}

/** What was asked for under this ID, whoever wrote what stands in its row: what is shown here is what the passkey signs. */
async function find({ deps, ceremonyKey }: Room, id: string): Promise<ActionRow> {
  const action = await selectAction(deps.store, id)
  const isAsked = action?.id === id && isAskedAs(ceremonyKey, id, action)
  if (action && !isAsked)
    deps.onError?.(
      new KeymanError(
        'internal',
        `${id} in the database is not what was asked for: somebody changed it; it counts for nothing`,
      ),
    )
  if (!action || !isAsked)
    throw new KeymanError('not-found', 'there is no such request', { hint: 'run the command again' })
  return action
}

/** The session's client key; a browser has none, so SHA-256 of its session's ID stands for it. */
const keyOf = (action: ActionRow): Uint8Array => action.clientSpki ?? sha256(utf8(action.session))

const challengeOf = (action: ActionRow, nonce: Uint8Array): Uint8Array =>
  actionChallenge({
    nonce,
    action: action.action,
    request: action.request,
    shown: action.shown,
    session: action.session,
    device: action.device,
    clientSpki: keyOf(action),
  })

const toView = (action: ActionRow): ActionTransaction => ({
  transaction: action.id,
  person: action.person,
  action: action.action,
  shown: lines.parse(JSON.parse(action.shown)).map(([name, value]) => ({ name, value })),
  device: action.device,
  from: action.askedFrom,
  clientFingerprint: toHex(action.clientSpki ? sha256(action.clientSpki) : keyOf(action)),
  endsAt: action.endsAt.toISOString(),
  state: action.state,
})

const tooLate = (message: string): KeymanError => new KeymanError('expired', message, { hint: 'run the command again' })
