import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { call } from './server/client.ts'
import { pageOf } from './server/page.ts'

/** A server that answers whatever it likes: each command ends with one of our errors, soon, and believes nothing. */
describe('a server that answers as it likes', () => {
  const authority = newMachineAuthority()
  let server: Server
  let url: string
  const answers: Record<
    string,
    (write: {
      head(status: number, length?: number): void
      body(text: string): void
      hangUp(): void
      end(): void
    }) => void
  > = {}
  beforeAll(async () => {
    server = createServer(authority.server(), (request, response) => {
      const answer = answers[new URL(request.url ?? '/', 'https://localhost').searchParams.get('after') ?? '']
      answer?.({
        head: (status, length) =>
          void response.writeHead(status, length === undefined ? {} : { 'content-length': length }),
        body: text => void response.write(text),
        hangUp: () => void setImmediate(() => response.destroy()),
        end: () => void response.end(),
      })
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    url = `https://localhost:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  let count = 0
  /** What the CLI makes of one answer. */
  const failure = async (answer: (typeof answers)[string], deadline = 10_000): Promise<KeymanError> => {
    const number = ++count
    answers[number] = answer
    try {
      await call({ url, root: authority.root }, api.trust.show, { query: { after: number }, deadline })
    } catch (error) {
      if (error instanceof KeymanError) return error
      throw error
    }
    throw new Error('it was believed')
  }
  const says = (status: number, document: unknown) =>
    failure(({ head, body, end }) => {
      head(status)
      body(JSON.stringify(document))
      end()
    })

  it('is believed where it answers as KeyMan does', async () => {
    answers.good = ({ head, body, end }) => {
      head(200)
      body('{"bundles":[]}')
      end()
    }
    await expect(call({ url, root: authority.root }, api.trust.show, { query: { after: 'good' } })).resolves.toEqual({
      bundles: [],
    })
    const refused = await says(403, {
      type: '/errors/denied',
      title: 'Denied',
      status: 403,
      code: 'denied',
      detail: 'no',
      requestId: 'req_1',
      hint: 'ask',
      fields: [],
    })
    expect([refused.code, refused.message, refused.hint]).toEqual(['denied', 'no (request req_1)', 'ask'])
  })
  it('that hangs up in the middle of an answer is not reached', async () => {
    const error = await failure(({ head, body, hangUp }) => {
      head(200, 1000)
      body('{"bundles":[')
      hangUp()
    })
    expect(error.code).toBe('unavailable')
  })
  it('that never ends its answer is given up at the deadline, and the reason is said', async () => {
    const error = await failure(({ head, body }) => {
      head(200)
      body(' ')
    }, 300)
    expect(error.message).toContain('no answer within 0.3 s')
  })
  it('whose answer is larger than any of ours is cut off', async () => {
    const error = await failure(({ head, body, end }) => {
      head(200)
      body(' '.repeat(33 * 1024 * 1024))
      end()
    })
    expect(error.message).toContain('too large')
  })
  it.each([
    ['fields that are no list', { fields: 7 }],
    ['fields of numbers', { fields: [7] }],
    ['a hint that is no text', { hint: {} }],
    ['no request ID', { requestId: undefined }],
    ['a transaction without a page', { transaction: { id: 'x' } }],
    ['a time to wait that is no number', { retryAfter: 'soon' }],
  ])('that refuses with %s has not answered as KeyMan does', async (_, change) => {
    const error = await says(403, { code: 'denied', detail: 'no', requestId: 'req_1', ...change })
    expect([error.code, error.message]).toEqual(['internal', `${url} answered 403 and not as KeyMan does`])
  })
})

describe('a page that a server names', () => {
  const context = { organisation: 'acme', publicUrl: 'https://keys.example.com' }
  it('is opened where the root of trust has signed for its origin', () => {
    expect(pageOf(context, 'https://keys.example.com/login/login_1')).toBe('https://keys.example.com/login/login_1')
  })
  it.each([
    'file:///etc/passwd',
    'javascript:alert(1)',
    '--load-extension=/tmp/x',
    'https://keys.example.com.evil.example/login/x',
    'https://keys.example.com@evil.example/',
    'https://user@keys.example.com/login/x',
    'https://keys.example.com:444/',
    'http://keys.example.com/login/x',
    'vscode://x/y',
    '',
  ])('is neither shown nor opened anywhere else: %s', address => {
    expect(() => pageOf(context, address)).toThrow('none of acme')
  })
  it('reaches a terminal without control characters', () => {
    expect(pageOf(context, 'https://keys.example.com/\u001b[2J\u202e')).toBe('https://keys.example.com/%1B[2J%E2%80%AE')
  })
})
