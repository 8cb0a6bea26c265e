import type { z } from 'zod'
import { ERRORS, type ErrorCode, KeymanError } from '../errors.ts'
import { problem } from './problem.ts'

/** Pure: what a server answered, as the contract says it. A server's word is data. */

/**
 * The answer of a call that was not refused. `from`: the server; `by`: who reads it. Throws `internal` for one that is not as the
 * route's schema says.
 */
export function answerFrom<Answer>(
  { answer }: { readonly answer?: z.ZodType<Answer> },
  { from, by, text }: { readonly from: string; readonly by: 'keyman' | 'agent'; readonly text: string },
): Answer {
  // A route without an answer has `undefined` for its answer's type.
  if (!answer) return undefined as Answer
  const parsed = answer.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  throw new KeymanError('internal', `${from} gave an answer that this ${by} does not understand`, {
    hint: `the server and this ${by} may be of different versions`,
    cause: parsed.error,
  })
}

/** A refusal as it came, as an error of ours. Of what is not wholly a problem document nothing is believed. The request's ID is what the server's log knows it by. */
export function refusalFrom(from: string, status: number, text: string): KeymanError {
  const parsed = problem.safeParse(parseJson(text))
  if (!parsed.success) return new KeymanError('internal', `${from} answered ${status} and not as KeyMan does`)
  const { code, detail, requestId, hint, fields, transaction, retryAfter } = parsed.data
  return new KeymanError(isErrorCode(code) ? code : 'internal', `${detail} (request ${requestId})`, {
    ...(hint === undefined ? {} : { hint }),
    ...(fields === undefined ? {} : { fields }),
    ...(transaction === undefined ? {} : { transaction }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  })
}

/** Undefined where it is no JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(ERRORS, code)
