import { z } from 'zod'

const text = z.string().max(4000)

/** The problem document (RFC 9457) that every refusal is. */
export const problem = z.object({
  /** `/errors/` and the code. */
  type: text,
  title: text,
  status: z.int(),
  detail: text,
  code: text,
  hint: text.optional(),
  fields: z.array(z.object({ field: text, message: text })).optional(),
  /** For `assertion-required`: what a passkey has to confirm, and where. */
  transaction: z.object({ id: text, url: text }).optional(),
  requestId: text,
  /** seconds */
  retryAfter: z.number().optional(),
})
export type Problem = z.infer<typeof problem>
