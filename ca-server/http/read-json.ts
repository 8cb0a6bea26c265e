import type { IncomingMessage } from 'node:http'
import type { Context } from 'hono'
import { fromUtf8 } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import type { EdgeEnv } from './request-info.ts'

/** Bodies: JSON only, bounded in bytes and depth before any schema sees them. */

export const MAX_BODY_BYTES = 64 * 1024
const MAX_DEPTH = 32
/** Keys that reach an object's prototype where code copies them carelessly; no body of ours has them. */
const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * The body of a request as plain data; undefined where there is none. Throws `too-large` before the rest is read, and
 * `invalid-input` for another type than JSON, for text that is not UTF-8 or JSON, for too deep nesting and for keys such as `__proto__`.
 */
export async function readJsonBody(c: Context<EdgeEnv>, maxBytes = MAX_BODY_BYTES): Promise<unknown> {
  const { incoming } = c.env
  const { headers } = incoming
  const declared = headers['content-length']
  if (declared === undefined ? headers['transfer-encoding'] === undefined : Number(declared) === 0) return undefined
  if (Number(declared) > maxBytes) throw tooLarge(maxBytes)
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding !== 'identity') throw invalid('body', 'a compressed body is not taken')
  if (!/^application\/json *(; *charset="?utf-8"? *)?$/i.test(headers['content-type'] ?? '')) {
    throw invalid('body', 'its Content-Type must be application/json')
  }
  return parseJson(await readBody(incoming, maxBytes))
}

const tooLarge = (maxBytes: number) =>
  new KeymanError('too-large', `the body is larger than ${maxBytes} bytes`, {
    fields: [{ field: 'body', message: 'too large' }],
  })

function readBody(incoming: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = []
    let length = 0
    const stop = () => {
      incoming.off('data', onData).off('end', onEnd).off('error', onGone).off('close', onGone)
    }
    const onData = (chunk: Uint8Array) => {
      length += chunk.length
      if (length > maxBytes) {
        stop()
        incoming.pause()
        reject(tooLarge(maxBytes))
      } else {
        chunks.push(chunk)
      }
    }
    const onEnd = () => {
      stop()
      const [only] = chunks
      resolve(only && chunks.length === 1 ? only : joined(chunks, length))
    }
    const onGone = () => {
      stop()
      reject(invalid('body', 'it ended before it was whole'))
    }
    incoming.on('data', onData).on('end', onEnd).on('error', onGone).on('close', onGone)
    if (incoming.destroyed) onGone()
  })
}

function joined(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}

/** Bytes to plain data; refuses as `readJsonBody` says. No message repeats what was sent. */
export function parseJson(bytes: Uint8Array): unknown {
  let value: unknown
  try {
    value = JSON.parse(fromUtf8(bytes))
  } catch {
    throw invalid('body', 'it is not JSON in UTF-8')
  }
  checkShape(value, 1)
  return value
}

/** Recursion is safe: it ends at MAX_DEPTH. */
function checkShape(value: unknown, depth: number): void {
  // PostgreSQL takes no U+0000 in a text, and WebAuthn's free-form parts pass no other schema.
  if (typeof value === 'string' && value.includes('\0')) throw invalid('body', 'the character U+0000 is not taken')
  if (typeof value !== 'object' || value === null) return
  if (depth > MAX_DEPTH) throw invalid('body', `it is nested deeper than ${MAX_DEPTH} levels`)
  if (Array.isArray(value)) {
    for (const item of value) checkShape(item, depth + 1)
    return
  }
  for (const [key, item] of Object.entries(value)) {
    if (FORBIDDEN_KEYS.has(key)) throw invalid('body', `the key ${key} is not taken`)
    checkShape(item, depth + 1)
  }
}
