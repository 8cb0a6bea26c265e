import { z } from 'zod'
import { ERRORS, type ErrorCode, KeymanError } from '../errors.ts'

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

/**
 * A refusal as it came, as an error of ours. A server's word is data: of a document that is not wholly a problem document
 * nothing is believed. The request's ID is what the server's log knows it by.
 */
export function refusalFrom(server: string, status: number, answer: string): KeymanError {
  const parsed = problem.safeParse(parseJson(answer))
  if (!parsed.success) return new KeymanError('internal', `${server} answered ${status} and not as KeyMan does`)
  const { code, detail, requestId, hint, fields, transaction, retryAfter } = parsed.data
  return new KeymanError(isErrorCode(code) ? code : 'internal', `${detail} (request ${requestId})`, {
    ...(hint === undefined ? {} : { hint }),
    ...(fields === undefined ? {} : { fields }),
    ...(transaction === undefined ? {} : { transaction }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  })
}

/** Undefined where it is no JSON. */
export function parseJson(answer: string): unknown {
  try {
    return JSON.parse(answer)
  } catch {
    return undefined
  }
}

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code)
