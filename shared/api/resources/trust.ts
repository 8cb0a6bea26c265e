import { z } from 'zod'
import { armoredSignature, decimal, INT4_MAX, publicKeyLine } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'

const machines = ['machines'] as const

/** The document is bounded so that a body of 64 kB has room for signatures, too; the body's own limit holds for all of it. */
export const signedBundle = z.object({
  /** The exact text that was signed. */ document: named('Document', z.string().max(40_000), { how: 'digest' }),
  signatures: named('Signatures', z.array(armoredSignature).max(16), { how: 'digest' }),
})

export const trust = {
  show: route({
    method: 'GET',
    path: '/v1/trust',
    listeners: machines,
    caller: 'anyone',
    action: 'trust.read',
    summary: 'The signed trust bundle, and those before it that changed the root, oldest first',
    query: z.strictObject({ after: decimal(0, INT4_MAX).optional() }),
    answer: z.object({ bundles: z.array(signedBundle) }),
  }),
  next: route({
    method: 'POST',
    path: '/v1/trust/next',
    listeners: machines,
    caller: 'person',
    action: 'trust.propose',
    summary: 'The next document to be signed: what the server now holds, with the roots given or those of today',
    body: z.strictObject({
      roots: z
        .strictObject({ threshold: z.int().min(1).max(16), keys: z.array(publicKeyLine).min(1).max(16) })
        .optional(),
    }),
    answer: z.object({ document: z.string() }),
  }),
  publish: route({
    method: 'POST',
    path: '/v1/trust',
    listeners: machines,
    caller: 'person',
    action: 'trust.publish',
    touch: true,
    status: 201,
    summary: 'Publish a document that the roots of today have signed',
    body: signedBundle,
    answer: z.object({ version: z.int() }),
  }),
}
