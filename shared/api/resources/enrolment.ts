import { z } from 'zod'
import { label, personIdentity, secret, time, webauthnJson } from '../fields.ts'
import { route } from '../route.ts'
import { sessionAnswer } from './sessions.ts'

/** Enrolment by a single-use link whose secret stands after `#`: the first owner's, an invitation's, of somebody who was reset, or `keyman-server admin-link`. */
export const enrolmentKind = z.enum(['administrator', 'invitation', 'reset'])

export const enrolment = {
  open: route({
    method: 'POST',
    path: '/v1/enrolment',
    listeners: ['pages'],
    caller: 'anyone',
    action: 'enrolment.use',
    summary: 'What a link is good for',
    body: z.strictObject({ secret }),
    answer: z.object({
      kind: enrolmentKind,
      organisation: z.string(),
      identity: z.string(),
      /** The invitation's identity cannot be changed; the first owner's is a proposal. */ identityFixed: z.boolean(),
      /** Of a server that has no owner yet. */ first: z.boolean(),
      /** Whether it makes an owner, or makes the new passkey of one. */ owner: z.boolean(),
      /** Whether it is for a person who is here already, and has lost a passkey. */ isHere: z.boolean(),
      /** Whether the new passkey waits for the yes of another owner. */ waits: z.boolean(),
      endsAt: time,
      /** What to type to sign in a machine that knows nothing of this organisation yet. */ login: z.string(),
    }),
  }),
  options: route({
    method: 'POST',
    path: '/v1/enrolment/options',
    listeners: ['pages'],
    caller: 'anyone',
    action: 'enrolment.use',
    summary: 'WebAuthn creation options for the first passkey',
    body: z.strictObject({ secret, identity: personIdentity }),
    answer: z.object({ options: webauthnJson }),
  }),
  complete: route({
    method: 'POST',
    path: '/v1/enrolment/complete',
    listeners: ['pages'],
    caller: 'anyone',
    action: 'enrolment.use',
    status: 201,
    summary: 'Become a person of this organisation, or make a new passkey as one; the link is used up',
    body: z.strictObject({ secret, identity: personIdentity, passkeyName: label, registration: webauthnJson }),
    answer: z.object({
      person: personIdentity,
      /** Absent where the new passkey waits for the yes of another owner. */ session: sessionAnswer.optional(),
    }),
  }),
}
