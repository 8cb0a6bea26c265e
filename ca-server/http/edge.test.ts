import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { route } from '#shared/api/index.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { addressKey } from '#shared/ip-address.ts'
import { nobodyGate } from '#test/support/nobody-gate.ts'
import { open, rawExchange } from '#test/support/raw-http.ts'
import { createApp } from './app.ts'
import { type RenewableListener, startPagesListener } from './connections/listeners.ts'
import { createRateLimiter, type RateLimiter } from './connections/rate-limit.ts'
import { newApp } from './edge.ts'
import { type Handled, handle } from './handle.ts'
import { noteCaller, requestInfo } from './request-info.ts'
import { healthRoutes } from './routes/health.ts'
import type { AccessLine } from './serve.ts'

const publicUrl = 'http://localhost:4480'
const lines: AccessLine[] = []
const internal: { error: unknown; requestId: string }[] = []
let served: string[] = []
let clock = 0
let release = () => {}
let entered = () => {}
const limiter = createRateLimiter({ burst: 2, perMinute: 60, now: () => clock })
const app = newApp((error, requestId) => void internal.push({ error, requestId }))
app.get('/from', c => {
  served.push('/from')
  noteCaller(c, 'alice@example.com')
  return c.json({ from: requestInfo(c).from, requestId: requestInfo(c).requestId })
})
app.get('/internal', () => {
  throw new Error('password=hunter2')
})
app.get('/refused', () => {
  throw invalid('name', 'is not a name', 'use another')
})
app.get('/later', () => {
  throw new KeymanError('unavailable', 'the keystore is away', { retryAfter: 5 })
})
app.get('/held', async c => {
  entered()
  await new Promise<void>(resolve => {
    release = resolve
  })
  return c.text('finished')
})
const json = route({
  method: 'POST',
  path: '/json',
  listeners: ['pages'],
  caller: 'anyone',
  action: 'trust.read',
  summary: 'takes a body',
  body: z.strictObject({ name: z.string(), deep: z.unknown().optional() }),
  answer: z.strictObject({ name: z.string() }),
})
const limited = route({
  method: 'GET',
  path: '/limited',
  listeners: ['pages'],
  caller: 'anyone',
  action: 'trust.read',
  summary: 'is limited',
})
const routesFor = (handled: Handled | Handled[], strangers: Pick<RateLimiter, 'take'>) =>
  createApp({
    listener: 'pages',
    handled: [handled].flat(),
    strangers,
    callers: { take: () => {}, charge: () => {} },
    onInternalError: (error, requestId) => void internal.push({ error, requestId }),
    gate: nobodyGate,
  })
const handleJson = handle(json, async ({ body }) => {
  served.push('/json')
  return { name: body.name }
})
app.route('/', routesFor(handleJson, { take: () => {} }))
app.route(
  '/',
  routesFor(
    handle(limited, async () => undefined),
    { take: key => (key.startsWith('files ') ? undefined : limiter.take(key)) },
  ),
)
const thing = { listeners: ['pages'], caller: 'anyone', action: 'trust.read', summary: 'a thing' } as const
app.route(
  '/',
  routesFor(
    [
      handle(
        route({ ...thing, method: 'GET', path: '/things/{id}', params: z.object({ id: z.string().max(9) }) }),
        async () => undefined,
      ),
      handle(route({ ...thing, method: 'POST', path: '/things/special' }), async () => undefined),
    ],
    { take: () => {} },
  ),
)
app.route('/', healthRoutes({ checks: { database: async () => {} }, now: () => clock }))

const start = (more: object = {}) =>
  startPagesListener({
    listen: { host: '127.0.0.1', port: 0 },
    publicUrl,
    app,
    log: line => void lines.push(line),
    strangers: { take: () => {} },
    onInternalError: error => void internal.push({ error, requestId: 'none' }),
    ...more,
  })
let listener: RenewableListener
beforeAll(async () => {
  listener = await start()
})
afterAll(() => listener.close(1000))

const HOST = 'Host: localhost:4480\r\n'
const send = (bytes: string, until?: string, port = listener.address.port) => rawExchange({ port }, bytes, until)
const get = (path: string, headers = '', port = listener.address.port) =>
  send(`GET ${path} HTTP/1.1\r\n${HOST}${headers}Connection: close\r\n\r\n`, undefined, port)
const post = (body: string, headers = `Origin: ${publicUrl}\r\nContent-Type: application/json\r\n`) =>
  send(
    `POST /json HTTP/1.1\r\n${HOST}${headers}Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )

describe('a refusal', () => {
  it('is a problem document with the request ID, hint and fields', async () => {
    const answer = await get('/refused')
    expect(answer.status).toBe(400)
    expect(answer.headers['content-type']).toBe('application/problem+json')
    expect(JSON.parse(answer.body)).toEqual({
      type: '/errors/invalid-input',
      title: 'The request is not valid',
      status: 400,
      detail: 'name: is not a name',
      code: 'invalid-input',
      hint: 'use another',
      fields: [{ field: 'name', message: 'is not a name' }],
      requestId: answer.headers['x-request-id'],
    })
  })

  it('says when to come back', async () => {
    const answer = await get('/later')
    expect(answer.status).toBe(503)
    expect(answer.headers['retry-after']).toBe('5')
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'unavailable', retryAfter: 5 })
  })

  it('tells a stranger nothing of an error that is not ours; the log hears of it with the same request ID', async () => {
    const answer = await get('/internal')
    expect(answer.status).toBe(500)
    expect(answer.whole).not.toContain('hunter2')
    expect(internal.at(-1)?.requestId).toBe(answer.headers['x-request-id'])
    expect(String(internal.at(-1)?.error)).toContain('hunter2')
  })

  it('of a method that the address does not have names those that it has', async () => {
    const asked = async (method: string, path: string) => {
      const headers = `${HOST}Origin: ${publicUrl}\r\nConnection: close\r\n`
      const { status, headers: answered, body } = await send(`${method} ${path} HTTP/1.1\r\n${headers}\r\n`)
      return [status, answered.allow, JSON.parse(body).code]
    }
    for (const method of ['PUT', 'DELETE', 'OPTIONS'])
      expect(await asked(method, '/json')).toEqual([405, 'POST', 'method-not-allowed'])
    expect(await asked('POST', '/limited')).toEqual([405, 'GET, HEAD', 'method-not-allowed'])
    // What stands there is one thing, whatever else fits its pattern.
    expect(await asked('GET', '/things/special')).toEqual([405, 'POST', 'method-not-allowed'])
    expect(await asked('PUT', '/things/other')).toEqual([405, 'GET, HEAD', 'method-not-allowed'])
    expect(await asked('PUT', '/nothing')).toEqual([404, undefined, 'not-found'])
  })

  it('of a part of a path that is none names it, before any handler', async () => {
    expect(JSON.parse((await get('/things/far-too-long')).body)).toMatchObject({
      status: 400,
      fields: [{ field: 'id' }],
    })
    expect((await get('/things/short')).status).toBe(200)
  })

  it('of an unknown address is a problem document too', async () => {
    expect(JSON.parse((await get('/nothing')).body)).toMatchObject({ status: 404, code: 'not-found' })
  })
})

describe('a request', () => {
  it('has an ID of ours, whatever it claims itself', async () => {
    const answer = await get('/from', 'X-Request-Id: req_mine\r\n')
    expect(answer.headers['x-request-id']).toMatch(/^req_[A-Za-z0-9_-]{16}$/)
    expect(JSON.parse(answer.body).requestId).toBe(answer.headers['x-request-id'])
  })

  it('leaves one line in the log: the caller, no query string', async () => {
    const answer = await get('/from?code=topsecret', 'Cookie: __Host-keyman=topsecret\r\n')
    const line = lines.find(({ requestId }) => requestId === answer.headers['x-request-id'])
    expect(line).toMatchObject({
      listener: 'pages',
      method: 'GET',
      path: '/from',
      status: 200,
      from: '127.0.0.1',
      caller: 'alice@example.com',
    })
    expect(JSON.stringify(line)).not.toContain('topsecret')
  })

  it('with X-Forwarded-For is taken by its peer alone, unless that is a trusted proxy', async () => {
    const header = 'X-Forwarded-For: 198.51.100.9, 192.0.2.7, 10.0.0.2\r\n'
    expect(JSON.parse((await get('/from', header)).body).from).toBe('127.0.0.1')
    const behind = await start({ trustedProxies: ['127.0.0.1', '10.0.0.0/8'] })
    try {
      const from = async (value: string) => JSON.parse((await get('/from', value, behind.address.port)).body).from
      expect(await from(header)).toBe('192.0.2.7')
      expect(await from('X-Forwarded-For: 198.51.100.9, nonsense\r\n')).toBe('127.0.0.1')
      expect(await from('')).toBe('127.0.0.1')
    } finally {
      await behind.close(1000)
    }
    const elsewhere = await start({ trustedProxies: ['10.0.0.0/8'] })
    try {
      expect(JSON.parse((await get('/from', header, elsewhere.address.port)).body).from).toBe('127.0.0.1')
    } finally {
      await elsewhere.close(1000)
    }
  })
})

describe('a body', () => {
  it('is read where it is JSON', async () => {
    expect((await post('{"name":"a"}')).body).toBe('{"name":"a"}')
  })

  it('of 10 MB is refused before it is read, by its declared length and by its chunks', async () => {
    const head = `POST /json HTTP/1.1\r\n${HOST}Origin: ${publicUrl}\r\nContent-Type: application/json\r\n`
    // Nothing of the body is ever sent: the answer comes from the headers alone.
    expect((await send(`${head}Content-Length: 10000000\r\n\r\n`, '\r\n\r\n')).status).toBe(413)
    // Chunked: the answer comes at 70 kB, with no end in sight.
    const chunk = `${(70_000).toString(16)}\r\n${'a'.repeat(70_000)}\r\n`
    const answer = await send(`${head}Transfer-Encoding: chunked\r\n\r\n${chunk}`, 'requestId')
    expect(answer.status).toBe(413)
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'too-large' })
  })

  it('of 64 kB is taken, of one byte more not', async () => {
    const body = (length: number) => `{"name":"${'a'.repeat(length - 11)}"}`
    expect((await post(body(65_536))).status).toBe(200)
    expect((await post(body(65_537))).status).toBe(413)
  })

  it('is refused when nested deeper than 32 levels, 10,000 levels included', async () => {
    const deep = (levels: number) => `{"name":"a","deep":${'['.repeat(levels)}${']'.repeat(levels)}}`
    expect((await post(deep(31))).status).toBe(200)
    expect((await post(deep(32))).status).toBe(400)
    const answer = await post(deep(10_000))
    expect(JSON.parse(answer.body).detail).toContain('nested deeper than 32')
  })

  it.each(['__proto__', 'constructor', 'prototype'])('with the key %s is refused before any schema', async key => {
    const answer = await post(`{"name":"a","deep":{"x":[{"${key}":{"admin":true}}]}}`)
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.body).detail).toContain(key)
    expect(Object.hasOwn(Object.prototype, 'admin')).toBe(false)
    expect((await post('{"name":"a","deep":{"x":[{"proto":{"admin":true}}]}}')).status).toBe(200)
  })

  it.each([
    ['that is no JSON', '{"name":', undefined],
    ['in another type', '{"name":"a"}', 'Content-Type: text/plain\r\n'],
    ['that is compressed', '{"name":"a"}', 'Content-Type: application/json\r\nContent-Encoding: gzip\r\n'],
    ['with an unknown field', '{"name":"a","more":1}', undefined],
    ['with a wrong type', '{"name":7}', undefined],
    ['that is missing', '', undefined],
  ])('%s is refused', async (_, body, headers) => {
    const answer = await post(body, `Origin: ${publicUrl}\r\n${headers ?? 'Content-Type: application/json\r\n'}`)
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.body).fields).not.toHaveLength(0)
  })

  it('that is not UTF-8 is refused', async () => {
    const bytes = `POST /json HTTP/1.1\r\n${HOST}Origin: ${publicUrl}\r\nContent-Type: application/json\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{"name":"\xff"}`
    expect((await send(bytes)).status).toBe(400)
  })
})

describe('request smuggling and header injection', () => {
  const inner = `GET /from HTTP/1.1\r\n${HOST}\r\n`
  it.each([
    [
      'both Content-Length and Transfer-Encoding',
      'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
      `0\r\n\r\n${inner}`,
    ],
    ['two Content-Lengths', `Content-Length: 0\r\nContent-Length: ${inner.length}\r\n`, inner],
    ['a coding after chunked', 'Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${inner}`],
    ['a coding that hides chunked', 'Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${inner}`],
    ['a blank before the colon', 'Content-Length : 0\r\n', inner],
    ['a folded header', 'X-A: b\r\n Content-Length: 0\r\n', inner],
    ['a bare line feed', 'X-A: b\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${inner}`],
    ['a bare carriage return', 'X-A: b\rX-Forwarded-For: 1.2.3.4\r\n', inner],
    ['a NUL in a header', 'X-A: b\0c\r\n', inner],
  ])('%s: refused, and what was smuggled is not served', async (_, headers, body) => {
    served = []
    const answer = await send(
      `POST /json HTTP/1.1\r\n${HOST}Origin: ${publicUrl}\r\nContent-Type: application/json\r\n${headers}\r\n${body}`,
    )
    expect(answer.status).toBe(400)
    expect(answer.headers.connection).toBe('close')
    expect(served).toEqual([])
  })

  it('a request line with a whole address, or with none that is a path, is refused', async () => {
    expect((await send(`GET http://evil.example/from HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`)).status).toBe(400)
    expect((await send(`OPTIONS * HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`)).status).toBe(400)
    expect((await get('/from')).status).toBe(200)
  })

  it('headers beyond 16 kB are refused', async () => {
    expect((await get('/from', `X-Long: ${'a'.repeat(17_000)}\r\n`)).status).toBe(431)
  })
})

describe('slow and idle clients', () => {
  it('that do not finish their headers or body in time are cut off', async () => {
    // Each limit alone, so that neither hides the other.
    const slowHeaders = await start({ limits: { headersTimeout: 100, requestTimeout: 60_000 } })
    const slowBody = await start({ limits: { headersTimeout: 200, requestTimeout: 200 } })
    try {
      const { port } = slowHeaders.address
      expect((await send(`GET /from HTTP/1.1\r\n${HOST}X-A:`, undefined, port)).status).toBe(408)
      // Not a byte sent: closed all the same.
      expect((await send('', undefined, port)).status).toBe(408)
      const head = `POST /json HTTP/1.1\r\n${HOST}Origin: ${publicUrl}\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{`
      expect([408, 400]).toContain((await send(head, undefined, slowBody.address.port)).status)
    } finally {
      await Promise.all([slowHeaders.close(1000), slowBody.close(1000)])
    }
  })

  it('that only hold connections give way to those who ask', async () => {
    const small = await start({ limits: { maxConnections: 20 } })
    try {
      const { port } = small.address
      const idle = Array.from({ length: 60 }, () => open({ port }))
      let gone = 0
      const enough = new Promise<void>(resolve => {
        for (const socket of idle) {
          socket.on('error', () => {})
          socket.on('close', () => {
            gone++
            if (gone === 40) resolve()
          })
        }
      })
      await enough
      expect((await get('/from', '', port)).status).toBe(200)
      for (const socket of idle) socket.destroy()
    } finally {
      await small.close(1000)
    }
  })
})

describe('the pages', () => {
  it('send their headers with every answer, refusals included', async () => {
    for (const answer of [
      await get('/from'),
      await get('/nothing'),
      await send('GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n'),
    ]) {
      expect(answer.headers['content-security-policy']).toBe(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
      )
      expect(answer.headers['referrer-policy']).toBe('no-referrer')
      expect(answer.headers['x-content-type-options']).toBe('nosniff')
      expect(answer.headers['cross-origin-opener-policy']).toBe('same-origin')
      expect(answer.headers['permissions-policy']).toContain('publickey-credentials-get=(self)')
    }
  })

  it.each(['evil.example', 'localhost', 'localhost:4481', '127.0.0.1:4480', 'localhost:4480.evil.example'])(
    'answer to no other host, such as %s (DNS rebinding)',
    async host =>
      expect((await send(`GET /from HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)).status).toBe(403),
  )

  it('answer neither without a host nor with two', async () => {
    expect((await send('GET /from HTTP/1.1\r\nConnection: close\r\n\r\n')).status).toBe(400)
    expect((await get('/from', HOST)).status).toBeGreaterThanOrEqual(400)
    expect((await get('/from')).status).toBe(200)
  })

  it('change nothing without their own origin', async () => {
    const type = 'Content-Type: application/json\r\n'
    expect((await post('{"name":"a"}', type)).status).toBe(403)
    expect((await post('{"name":"a"}', `${type}Origin: null\r\n`)).status).toBe(403)
    expect((await post('{"name":"a"}', `${type}Origin: https://evil.example\r\n`)).status).toBe(403)
    expect((await post('{"name":"a"}', `${type}Origin: ${publicUrl}\r\nSec-Fetch-Site: cross-site\r\n`)).status).toBe(
      403,
    )
    expect((await post('{"name":"a"}', `${type}Origin: ${publicUrl}\r\nSec-Fetch-Site: same-origin\r\n`)).status).toBe(
      200,
    )
  })

  it('are reached from another site by a followed link only, not by its scripts, pictures or frames', async () => {
    const cross = 'Sec-Fetch-Site: cross-site\r\n'
    expect((await get('/from', `${cross}Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n`)).status).toBe(200)
    expect((await get('/from', `${cross}Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n`)).status).toBe(403)
    expect((await get('/from', `${cross}Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n`)).status).toBe(403)
    expect((await get('/from', `${cross}Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n`)).status).toBe(403)
  })

  it('upgrade nothing', async () => {
    expect((await send(`GET /from HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)).status).toBe(
      404,
    )
  })
})

describe('rate limits', () => {
  it('let a burst in, then what refills, and say when', async () => {
    expect((await get('/limited')).status).toBe(200)
    expect((await get('/limited')).status).toBe(200)
    const refused = await get('/limited')
    expect(refused.status).toBe(429)
    expect(refused.headers['retry-after']).toBe('1')
    clock += 1000
    expect((await get('/limited')).status).toBe(200)
    expect((await get('/limited')).status).toBe(429)
  })

  it('let what costs more in less often, and a charge takes what there is', () => {
    let at = 0
    const limit = createRateLimiter({ burst: 30, perMinute: 60, now: () => at })
    limit.take('alice', 10)
    limit.take('alice', 20)
    expect(() => limit.take('alice', 10)).toThrow('too many')
    at += 10_000
    limit.take('alice', 10)
    limit.charge('bob', 29)
    limit.take('bob')
    limit.charge('bob', 20)
    at += 1_000
    limit.take('bob')
    expect(() => limit.take('bob')).toThrow('too many')
    // A cost above the burst is the whole burst: nobody is kept out for good.
    limit.take('carol', 31)
  })

  it('keep no more buckets than they may, and one for a whole IPv6 /64', () => {
    const small = createRateLimiter({ burst: 1, perMinute: 1, now: () => 0, maxKeys: 2 })
    small.take('a')
    small.take('b')
    expect(() => small.take('b')).toThrow(KeymanError)
    small.take('c')
    expect(() => small.take('c')).toThrow(KeymanError)
    expect(() => small.take('a')).not.toThrow()
    expect(addressKey('2001:db8:0:1::1')).toBe(addressKey('2001:db8:0:1:ffff::2'))
    expect(addressKey('2001:db8:0:2::1')).not.toBe(addressKey('2001:db8:0:1::1'))
    expect(addressKey('192.0.2.1')).toBe('192.0.2.1')
    expect(addressKey('::ffff:192.0.2.1')).toBe('192.0.2.1')
  })
})

describe('health', () => {
  it('says that the process lives and whether it can serve', async () => {
    expect((await get('/healthz')).body).toBe('{"status":"ok"}')
    expect(JSON.parse((await get('/readyz')).body)).toEqual({ status: 'ready', checks: { database: 'ok' } })
  })

  it('names the check that fails, asks it at most once a second, and says 503 while stopping', async () => {
    let now = 0
    let calls = 0
    let draining = false
    const failures: string[] = []
    const routes = newApp(() => {}).route(
      '/',
      healthRoutes({
        checks: {
          keystore: async () => {
            calls++
            throw new Error('PIN 1234')
          },
        },
        now: () => now,
        draining: () => draining,
        onFailure: check => void failures.push(check),
      }),
    )
    const first = await routes.request('/readyz')
    expect(first.status).toBe(503)
    expect(await first.json()).toEqual({ status: 'not ready', checks: { keystore: 'failed' } })
    await routes.request('/readyz')
    expect(calls).toBe(1)
    now = 2000
    await routes.request('/readyz')
    expect(calls).toBe(2)
    expect(failures).toEqual(['keystore', 'keystore'])
    draining = true
    expect(await (await routes.request('/readyz')).json()).toEqual({ status: 'stopping' })
  })
})

describe('a listener', () => {
  it('that closes lets the running request end, closes idle connections and takes no new ones', async () => {
    const stopping = await start()
    const { port } = stopping.address
    const idle = open({ port })
    const idleClosed = new Promise(resolve => idle.on('close', resolve))
    await new Promise(resolve => idle.on('connect', resolve))
    idle.write(`GET /from HTTP/1.1\r\n${HOST}\r\n`)
    await new Promise(resolve => idle.once('data', resolve))
    const inside = new Promise<void>(resolve => {
      entered = resolve
    })
    const held = send(`GET /held HTTP/1.1\r\n${HOST}\r\n`, undefined, port)
    await inside
    const closed = stopping.close(60_000)
    await idleClosed
    await expect(send(`GET /from HTTP/1.1\r\n${HOST}\r\n`, undefined, port)).rejects.toThrow(/ECONNREFUSED/)
    release()
    expect((await held).body).toContain('finished')
    await closed
  })

  it('that closes ends what does not end by itself at its deadline', async () => {
    const stopping = await start()
    const inside = new Promise<void>(resolve => {
      entered = resolve
    })
    const held = send(`GET /held HTTP/1.1\r\n${HOST}\r\n`, undefined, stopping.address.port)
    await inside
    await stopping.close(50)
    expect((await held).whole).toBe('')
    release()
  })

  it('whose port is taken names the setting and the variable', async () => {
    const other = createServer()
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
    const address = other.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const error: unknown = await start({ listen: { host: '127.0.0.1', port } }).catch((reason: unknown) => reason)
    other.close()
    expect(error).toBeInstanceOf(KeymanError)
    expect(error).toMatchObject({
      code: 'unavailable',
      message: `pages.listen: 127.0.0.1 port ${port} is taken by another program`,
      hint: 'set another address with pages.listen in the configuration or KEYMAN_PAGES_LISTEN',
    })
  })
})
