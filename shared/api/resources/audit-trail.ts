import { z } from 'zod'
import { RECORD_KINDS, STATE_KINDS } from '../../audit/index.ts'
import { decimal, hostName, int8, subject, time } from '../fields.ts'
import { route } from '../route.ts'

const machines = ['machines'] as const

export const auditRecord = z.object({
  index: z.string(),
  /** The record's exact bytes, canonical JSON: the leaf of the tree. */ record: z.string(),
  leafHash: z.string(),
})

export const stateRow = z.object({
  id: z.string(),
  /** Canonical JSON of what the row says, in what matters; a record names it by its SHA-256. */ row: z.string(),
})

export const auditTrail = {
  list: route({
    method: 'GET',
    path: '/v1/audit/records',
    listeners: machines,
    caller: 'person',
    action: 'audit.read',
    summary: 'Records in order, at most 1,000 at a time',
    query: z.strictObject({
      from: int8.optional(),
      before: int8.optional(),
      limit: decimal(1, 1000).default(100),
      kind: z.enum(RECORD_KINDS, `must be one of ${RECORD_KINDS.join(', ')}`).optional(),
      actor: z
        .string()
        .max(128)
        .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')
        .optional(),
      since: time.optional(),
      until: time.optional(),
      /** What the record names: who did it, on whom it was done, or otherwise. */
      person: subject.optional(),
      host: hostName.optional(),
    }),
    answer: z.object({ records: z.array(auditRecord) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/audit/records/{index}',
    params: z.object({ index: int8 }),
    listeners: machines,
    caller: 'person',
    action: 'audit.read',
    summary: 'One record with its inclusion proof under the newest checkpoint',
    answer: auditRecord.extend({ checkpoint: z.string(), proof: z.array(z.string()) }),
  }),
  checkpoint: route({
    method: 'GET',
    path: '/v1/audit/checkpoint',
    listeners: machines,
    caller: 'session',
    action: 'checkpoint.read',
    summary: 'The newest signed tree head, C2SP tlog-checkpoint',
    answer: z.object({ checkpoint: z.string() }),
  }),
  consistency: route({
    method: 'GET',
    path: '/v1/audit/consistency',
    listeners: machines,
    caller: 'session',
    action: 'checkpoint.read',
    summary: 'Proof that the tree of one size is the beginning of another',
    query: z.strictObject({ from: int8, to: int8 }),
    answer: z.object({ proof: z.array(z.string()) }),
  }),
  state: route({
    method: 'GET',
    path: '/v1/audit/state',
    listeners: machines,
    caller: 'person',
    action: 'audit.read',
    summary:
      'Rows of one table as the records name them, in order, to be held against the log; none left: an empty page',
    query: z.strictObject({
      kind: z.enum(STATE_KINDS, `must be one of ${STATE_KINDS.join(', ')}`),
      /** The last ID of the page before. */
      after: z
        .string()
        .max(300)
        .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')
        .optional(),
      limit: decimal(1, 1000).default(1000),
    }),
    answer: z.object({ rows: z.array(stateRow) }),
  }),
  krl: route({
    method: 'GET',
    path: '/v1/audit/krl',
    listeners: machines,
    caller: 'person',
    action: 'audit.read',
    summary: 'What hosts refuse by: the revocation list (KRL) of the newest version, and its signature by the log key',
    answer: z.object({ base64: z.string(), signature: z.string() }),
  }),
}
