import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto'
import type { Entry } from '#server/ledger/index.ts'
import type { Line } from '#shared/api/index.ts'
import { concat, equalBytes, fromUtf8, toBase64Url, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonCaller } from '../caller.ts'
import type { Asked, Touches } from '../port.ts'
import {
  type ActionRow,
  endMandates,
  insertAction,
  insertMandate,
  keepAnswer,
  type SameAction,
  selectMandate,
  selectWaitingAction,
  useAction,
} from '../records/action-records.ts'
import { gone, mandateFact, mandateId, touchUsedFact } from '../records/facts.ts'
import { newId, sha256 } from '../records/secrets.ts'
import { vouchedMandate, vouchedTouch } from '../records/vouched.ts'
import { addSeconds, type Room } from '../room.ts'
import type { Act, Consent, PersonBy } from '../standing.ts'
import { isAskedAs, makeActionId } from './action-id.ts'

/** Seconds, from the question to its use. */
const CONFIRM_WITHIN = 300
/** Of one session at a time. */
const MAX_WAITING = 20
/** Characters: more nobody reads who is to touch a passkey for it. */
const MAX_SHOWN = 16_000

/**
 * The room's `touches`: a touch of a passkey is for one request (invariant 24), and is used up in the transaction that does what
 * was asked for. `key`: of the server, wrapped by the keystore.
 */
export function createTouches(room: Room, act: Act, key: Uint8Array): Touches {
  const { deps, ceremonyKey } = room
  const { store, now, random } = deps

  async function mandateOf(asked: Asked, caller: PersonCaller): Promise<Consent | undefined> {
    const mandate = asked.mandated() ? await vouchedMandate(room, caller.session) : undefined
    return mandate === undefined
      ? undefined
      : {
          id: mandate.id,
          async use(t) {
            if ((await selectMandate(t, caller.session, now()))?.id !== mandate.id || mandate.endsAt <= now())
              throw new KeymanError('conflict', 'the mandate has ended', { hint: 'run the command again' })
            // What somebody was given meanwhile, here or by another server, is given on by this now.
            if (!asked.mandated())
              throw new KeymanError('conflict', 'this gives a role by now, which no mandate covers', {
                hint: 'run the command again: it asks for a touch',
              })
          },
        }
  }

  return {
    digest: secret =>
      toBase64Url(new Uint8Array(createHmac('sha256', key).update(`shown\0${secret}`).digest())).slice(0, 22),

    async require(caller, asked, given) {
      if (caller.kind !== 'person') throw new KeymanError('denied', 'only persons confirm actions with a passkey')
      const request = sha256(utf8(asked.request))
      const before = given === undefined ? undefined : await vouchedTouch(room, given)
      // By its ID, which says until when it is good, too.
      const isOwn = before?.session === caller.session && equalBytes(before.request, request)
      const own = isOwn && isAskedAs(ceremonyKey, before.id, before) ? before : undefined
      // What it is about may be otherwise since, by that very request.
      if (own?.state === 'used') return { answer: answered(key, own) }
      // What is shown is what the log says by now.
      await deps.ledger.follow()
      const shown = showable(await asked.shown(store))
      if (own && own.state === 'confirmed' && own.shown === shown && own.endsAt > now())
        return {
          consent: {
            id: own.id,
            async use(t, by) {
              const touch = { id: own.id, session: caller.session, shown: showable(await asked.shown(t)), request }
              if (!(await useAction(t, { ...touch, by, at: now() })))
                throw new KeymanError(
                  'conflict',
                  'what was confirmed has changed since it was shown, or was used already',
                  {
                    hint: 'run the command again',
                  },
                )
              deps.ledger.sayIn(t, [touchUsedFact(own.id, addSeconds(now(), CONFIRM_WITHIN))])
            },
          },
        }
      const mandate = await mandateOf(asked, caller)
      if (mandate) return { consent: mandate }
      throw await ask(caller, {
        session: caller.session,
        action: asked.action,
        shown,
        request,
        askedFrom: asked.from,
      })
    },

    async keepAnswer(id, answer) {
      await keepAnswer(store, id, seal(key, id, JSON.stringify(answer ?? null), random(12)))
    },

    beginMandate: (by, lifetime) =>
      act(by, { name: 'mandate' }, async t => {
        const { session } = by.standing.caller
        const at = now()
        const mandate = { id: newId('mandate', random), session, at, endsAt: addSeconds(at, lifetime) }
        const before = await endMandates(t, session, at)
        await insertMandate(t, mandate)
        const endsAt = mandate.endsAt.toISOString()
        await deps.ledger.appendIn(t, [
          // Said of its session once, by the new one.
          ...before.map(ended(by)),
          { ...by, kind: 'mandate-begun', target: mandate.id, details: { endsAt }, facts: [mandateFact(mandate)] },
        ])
        return { id: mandate.id, endsAt }
      }),

    async endMandate(by) {
      await act(by, { name: 'mandate end', ends: true }, async t => {
        const { session } = by.standing.caller
        const rows = await endMandates(t, session, now())
        // One whose row is hidden ends with them.
        if (rows.length > 0 || deps.ledger.facts.has(mandateId(session)))
          await deps.ledger.appendIn(
            t,
            [rows.at(-1) ?? session].map(id => ({ ...ended(by)(id), facts: [gone(mandateId(session))] })),
          )
      })
      // Remembered before it is said to be done.
      await deps.ledger.follow()
    },
  }

  async function ask(caller: PersonCaller, asked: SameAction): Promise<KeymanError> {
    const whole = {
      ...asked,
      person: caller.identity,
      device: caller.device,
      clientSpki: caller.via === 'machine' ? caller.clientSpki : undefined,
    }
    const waiting = await selectWaitingAction(store, { ...asked, endsAfter: addSeconds(now(), CONFIRM_WITHIN / 2) })
    // Whoever writes rows could have the page show what somebody else asked for.
    let id =
      waiting && isAskedAs(ceremonyKey, waiting.id, { ...whole, endsAt: waiting.endsAt }) ? waiting.id : undefined
    if (id === undefined) {
      const endsAt = addSeconds(now(), CONFIRM_WITHIN)
      id = makeActionId(ceremonyKey, random(16), { ...whole, endsAt })
      await insertAction(store, { ...asked, id, createdAt: now(), endsAt, maxWaiting: MAX_WAITING })
    }
    const url = `${deps.publicUrl}/confirm/${id}`
    return new KeymanError(
      'assertion-required',
      `"${asked.action}" needs a touch of your passkey, for this very request`,
      {
        transaction: { id, url },
        hint: `open ${url}, then send it again with the header keyman-touch: ${id}`,
      },
    )
  }
}

const ended =
  (by: PersonBy) =>
  (id: string): Entry => ({ ...by, kind: 'mandate-ended', target: id })

/** As it is stored, shown and signed. Nobody confirms what nobody can read. */
function showable(lines: readonly Line[]): string {
  const text = JSON.stringify(lines.map(({ name, value }) => [name, value]))
  if (text.length <= MAX_SHOWN) return text
  throw new KeymanError(
    'too-large',
    `this is too long to be shown (${text.length} characters), so nobody can confirm it`,
    {
      hint: 'make several smaller changes of it',
    },
  )
}

function answered(key: Uint8Array, row: ActionRow): unknown {
  if (row.answer) return JSON.parse(open(key, row.id, row.answer))
  throw new KeymanError('conflict', `this was done already, by the request ${row.usedBy ?? 'before'}`, {
    hint: 'its answer is lost: look whether it is as you want it',
  })
}

/** An answer may hold a link or a join token: it lies in the database for an hour at most, and is read by our servers alone. */
function seal(key: Uint8Array, id: string, text: string, nonce: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(utf8(id))
  const body = concat(new Uint8Array(cipher.update(utf8(text))), new Uint8Array(cipher.final()))
  return concat(nonce, new Uint8Array(cipher.getAuthTag()), body)
}

function open(key: Uint8Array, id: string, sealed: Uint8Array): string {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12)).setAAD(utf8(id))
  decipher.setAuthTag(sealed.subarray(12, 28))
  return fromUtf8(concat(new Uint8Array(decipher.update(sealed.subarray(28))), new Uint8Array(decipher.final())))
}
