/** Pure: what an auditor reads of a record, whichever it is. */
import { z } from 'zod'

/** What a record says of a fact: its digest, null where it is gone, with the end in seconds since 1970 where it has one. */
export const factSaid = z.union([z.string(), z.null(), z.tuple([z.union([z.string(), z.null()]), z.int()])])
const schema = z.looseObject({
  at: z.string().optional().catch(undefined),
  kind: z.string(),
  actor: z.looseObject({ kind: z.string(), identity: z.string().optional(), session: z.string().optional() }),
  target: z.string().optional(),
  details: z.unknown().optional(),
  facts: z.record(z.string(), factSaid).default({}),
  root: z.string().optional().catch(undefined),
  certificate: z
    .looseObject({ authority: z.string(), serial: z.string(), subjectKey: z.string(), validBefore: z.string() })
    .optional()
    .catch(undefined),
})
export type AuditRecord = z.infer<typeof schema>

/** `undefined` where it is no record. */
export function readRecord(text: string): AuditRecord | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

/** The digest of a fact, null where it is gone, `undefined` where this record says nothing of it. */
export function saidOf({ facts }: AuditRecord, id: string): string | null | undefined {
  const value = Object.hasOwn(facts, id) ? facts[id] : undefined
  return Array.isArray(value) ? value[0] : value
}
