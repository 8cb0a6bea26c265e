import { z } from 'zod'
import { id, personIdentity, secondsUpTo, time, webauthnJson } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'

/**
 * Consent. Where an action wants a touch, the refusal (`assertion-required`) names a transaction; its page shows action, every
 * field of the request in words, device and client-key fingerprint, and the assertion's challenge binds all of it. Once confirmed,
 * that session and client key alone may send that very request, once, with the transaction in the header `keyman-touch`.
 */
export const actionTransaction = z.object({
  transaction: id,
  person: personIdentity,
  action: z.string(),
  /** The request in words. */ shown: z.array(z.object({ name: z.string(), value: z.string() })),
  device: z.string(),
  from: z.string(),
  clientFingerprint: z.string(),
  endsAt: time,
  state: z.enum(['waiting', 'confirmed', 'refused', 'used']),
})

export const actions = {
  show: route({
    method: 'GET',
    path: '/v1/actions/{transaction}',
    params: z.object({ transaction: id }),
    listeners: ['pages', 'machines'],
    caller: 'anyone',
    action: 'touch.confirm',
    summary: 'What a transaction would allow, and whether it was confirmed',
    answer: actionTransaction,
  }),
  options: route({
    method: 'POST',
    path: '/v1/actions/{transaction}/options',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    action: 'touch.confirm',
    summary: 'WebAuthn request options whose challenge binds the request, what is shown of it, session and client key',
    answer: z.object({ options: webauthnJson }),
  }),
  confirm: route({
    method: 'POST',
    path: '/v1/actions/{transaction}/confirm',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    action: 'touch.confirm',
    summary: "Confirm an action with a passkey's assertion",
    body: z.strictObject({ assertion: webauthnJson }),
    answer: actionTransaction,
  }),
  refuse: route({
    method: 'POST',
    path: '/v1/actions/{transaction}/refuse',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    action: 'touch.confirm',
    summary: 'Say no to an action',
    answer: actionTransaction,
  }),
}

const machines = ['machines'] as const

/** What somebody asks for who works through a series of changes: see `mandated` in `route.ts`. */
export const mandate = z.object({ id, endsAt: time })

export const mandates = {
  begin: route({
    method: 'POST',
    path: '/v1/mandates',
    listeners: machines,
    caller: 'person',
    action: 'mandate.begin',
    touch: true,
    status: 201,
    summary:
      'Administer from this session without a touch for each change, for some minutes; some things want one all the same',
    body: z.strictObject({ lifetime: named('For', secondsUpTo(3600), { how: 'duration' }) }),
    answer: mandate,
  }),
  end: route({
    method: 'DELETE',
    path: '/v1/mandates',
    listeners: machines,
    caller: 'person',
    action: 'mandate.end',
    status: 204,
    ends: true,
    summary: 'End that before its time',
  }),
}
