import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { createApp } from '#server/http/app.ts'
import { handle } from '#server/http/handle.ts'
import { type Listener, serve } from '#server/http/serve.ts'
import { nobodyGate } from '#test/support/nobody-gate.ts'
import { answerFrom, refusalFrom } from './answer.ts'
import { callOf } from './call.ts'
import { route } from './route.ts'

const text = z.string()
const asked = z.strictObject({ from: text.optional(), to: text.optional() })
const echo = route({
  method: 'POST',
  path: '/v1/of/{name}/in/{id}',
  listeners: ['pages'],
  caller: 'anyone',
  action: 'trust.read',
  summary: 'says what came',
  params: z.strictObject({ name: text, id: text }),
  query: asked,
  body: z.strictObject({ value: text }),
  answer: z.strictObject({ params: z.record(text, text), query: asked, body: z.unknown() }),
})

describe('a call', () => {
  let listener: Listener
  let url = ''
  beforeAll(async () => {
    const onInternalError = (error: unknown) => {
      throw error
    }
    const app = createApp({
      listener: 'pages',
      handled: [handle(echo, async ({ params, query, body }) => ({ params, query, body }))],
      strangers: { take: () => {} },
      callers: { take: () => {}, charge: () => {} },
      gate: nobodyGate,
      onInternalError,
    })
    const listen = { host: '127.0.0.1', port: 0 }
    listener = await serve({ name: 'pages', listen, app, headers: {}, strangers: { take: () => {} }, onInternalError })
    url = `http://127.0.0.1:${listener.address.port}`
  })
  afterAll(() => listener.close())

  const send = async (input: Parameters<typeof callOf>[1]) => {
    const { method, target, headers, payload = null } = callOf(echo, input)
    const response = await fetch(new URL(target, url), { method, headers, body: payload })
    const answer = await response.text()
    if (!response.ok) throw refusalFrom(url, response.status, answer)
    return answerFrom(echo, { from: url, by: 'keyman', text: answer })
  }

  it('brings the server whatever stands in path, query and body as it is', async () => {
    // U+0000 the server takes nowhere.
    const value = fc.string({ unit: 'grapheme', maxLength: 60 }).filter(one => !one.includes('\0'))
    const special = fc.constantFrom(
      '...',
      '%2e%2e',
      '%',
      '%25',
      'a/b',
      '//',
      '?x=1',
      '#x',
      '+',
      ' ',
      '&',
      'a=b',
      ';',
      '\\',
    )
    const any = fc.oneof(value, special)
    const segment = any.filter(one => !['', '.', '..'].includes(one))
    await fc.assert(
      fc.asyncProperty(
        segment,
        segment,
        any,
        fc.option(any, { nil: undefined }),
        any,
        async (name, id, from, to, inBody) => {
          const query = to === undefined ? { from } : { from, to }
          const body = { value: inBody }
          expect(await send({ params: { name, id }, query: { from, to }, body })).toEqual({
            params: { name, id },
            query,
            body,
          })
        },
      ),
      { numRuns: 200 },
    )
  })

  it.each(['', '.', '..', '\ud800'])('is not sent where an address cannot carry a name (%j)', name => {
    expect(() => callOf(echo, { params: { name, id: 'a' } })).toThrow(/^name: must/)
    expect(callOf(echo, { params: { name: 'web1', id: 'a' } }).target).toBe('/v1/of/web1/in/a')
  })

  it('is not sent where a query holds half of a character', () => {
    const params = { name: 'web1', id: 'a' }
    expect(() => callOf(echo, { params, query: { from: '\ud800' } })).toThrow('from: must be text')
    expect(callOf(echo, { params, query: { from: 1, to: undefined } }).target).toBe('/v1/of/web1/in/a?from=1')
  })

  it('names the touch that was confirmed for it, and says what it sends', () => {
    const params = { name: 'web1', id: 'a' }
    expect(callOf(echo, { params })).toMatchObject({ headers: { accept: 'application/json' }, payload: undefined })
    expect(callOf(echo, { params, body: {}, touch: 'action_1' }).headers).toEqual({
      accept: 'application/json',
      'content-type': 'application/json',
      'keyman-touch': 'action_1',
    })
  })
})

describe('what came back', () => {
  const problem = {
    type: '/errors/denied',
    title: 'Denied',
    status: 403,
    detail: 'this takes a role',
    code: 'denied',
    hint: 'ask an owner',
    requestId: 'req_1',
  }
  const refusal = (document: unknown) => refusalFrom('https://keyman.example.com', 403, JSON.stringify(document))

  it('is an error of ours where it is a problem document, with the ID of the request', () => {
    expect(refusal(problem)).toMatchObject({
      code: 'denied',
      message: 'this takes a role (request req_1)',
      hint: 'ask an owner',
    })
    expect(refusal({ ...problem, code: 'toString' }).code).toBe('internal')
  })

  it.each([[undefined], ['<html>'], [{ ...problem, requestId: undefined }], [{ ...problem, hint: 'x'.repeat(4001) }]])(
    'is believed in nothing where it is none (%#)',
    document => {
      const { code, message, hint } = refusal(document)
      expect([code, message, hint]).toEqual([
        'internal',
        'https://keyman.example.com answered 403 and not as KeyMan does',
        undefined,
      ])
    },
  )

  it('is refused where it is not what the route says', () => {
    const read = (json: unknown) => answerFrom(echo, { from: 'https://s', by: 'agent', text: JSON.stringify(json) })
    const answer = { params: {}, query: {}, body: {} }
    expect(read(answer)).toEqual(answer)
    expect(() => read({ ...answer, query: { from: 1 } })).toThrow('https://s gave an answer that this agent does not')
  })
})
