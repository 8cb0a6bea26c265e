import { z } from 'zod'
import { id, label, time, webauthnJson } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'
import { inForce, waits } from './in-force.ts'

export const passkey = z.object({
  id,
  name: z.string(),
  createdAt: time,
  lastUsedAt: time.optional(),
  synced: z.boolean(),
  transports: z.array(z.string()),
})

export const passkeys = {
  list: route({
    method: 'GET',
    path: '/v1/passkeys',
    listeners: ['pages', 'machines'],
    caller: 'person',
    action: 'passkey.read',
    summary: 'My passkeys',
    answer: z.object({ passkeys: z.array(passkey) }),
  }),
  addOptions: route({
    method: 'POST',
    path: '/v1/passkeys/options',
    listeners: ['pages'],
    caller: 'browser',
    action: 'passkey.add',
    summary: 'WebAuthn creation options for a further passkey',
    answer: z.object({ options: webauthnJson }),
  }),
  add: route({
    method: 'POST',
    path: '/v1/passkeys',
    listeners: ['pages'],
    caller: 'browser',
    action: 'passkey.add',
    touch: true,
    status: 201,
    summary: 'Add a passkey',
    body: z.strictObject({
      name: named('Name', label, { how: 'text' }),
      registration: named('Passkey', webauthnJson, { how: 'secret' }),
    }),
    answer: passkey,
  }),
  rename: route({
    method: 'PATCH',
    path: '/v1/passkeys/{id}',
    params: z.object({ id }),
    listeners: ['pages', 'machines'],
    caller: 'person',
    action: 'passkey.rename',
    touch: true,
    summary: 'Rename a passkey',
    body: z.strictObject({ name: named('New name', label, { how: 'text' }) }),
    answer: passkey,
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/passkeys/{id}',
    params: z.object({ id }),
    listeners: ['pages', 'machines'],
    caller: 'person',
    action: 'passkey.remove',
    touch: true,
    ends: true,
    summary: 'Remove a passkey; the last one stays',
    query: waits,
    answer: inForce,
  }),
}
