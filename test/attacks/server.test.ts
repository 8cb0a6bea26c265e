import { readdirSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { call } from '#cli/server/client.ts'
import { openStore } from '#server/store/index.ts'
import { allRoutes, api } from '#shared/api/index.ts'
import { fromBase64, fromBase64Url, toHex, utf8 } from '#shared/bytes.ts'
import { beginLogin, consent, enrol, logIn, page, pageCall } from '#test/support/people/api-person.ts'
import { rawExchange } from '#test/support/raw-http.ts'
import { pathOf, routeInputs } from '#test/support/route-inputs.ts'
import {
  type AttackWorld,
  addHost,
  bodyOf,
  type JoinedHost,
  joinBody,
  joinHost,
  loginBody,
  machineCall,
  newKeys,
  openAttackWorld,
  tlsOf,
} from '#test/support/worlds/attack-world.ts'

let world: AttackWorld
let host: JoinedHost
/** A request whose headers never end, and one whose body never comes: begun first, looked at last. */
let slow: Promise<{ status: number }[]>
/** Every answer that the attacks got: no secret may stand in any of them. */
const answers: string[] = []

beforeAll(async () => {
  world = await openAttackWorld({ env: { KEYMAN_TRUSTED_PROXIES: '127.0.0.5' } })
  const { pages, machines } = world.port
  const headers = `POST /v1/sign-in/options HTTP/1.1\r\nHost: localhost:${pages}\r\nOrigin: ${world.server.pagesUrl}\r\n`
  slow = Promise.all([
    rawExchange({ port: pages }, `${headers}X-Slow: `),
    rawExchange(
      { port: machines, tls: tlsOf(world.stranger) },
      'POST /v1/login HTTP/1.1\r\nHost: localhost\r\nX-Slow: ',
    ),
  ])
  host = await joinHost(world, 'web1.keyman.localhost')
})
afterAll(() => world?.close())

const raw = (bytes: string, until?: string) =>
  rawExchange({ port: world.port.machines, tls: tlsOf(world.stranger) }, bytes, until)
const post = (text: string, more = '') =>
  raw(
    `POST /v1/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n${more}\r\n${text}`,
  )
const stillServes = async () => expect((await machineCall(world.bob.connection, 'GET', '/v1/session')).status).toBe(200)

describe('a body', () => {
  it('of 10 MB, declared or in chunks without end: refused before it is read; one of 60 kB is read', async () => {
    const declared = await raw(
      'POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10485760\r\n\r\n{',
      'too-large',
    )
    expect(declared.status).toBe(413)
    const chunk = `4000\r\n${'1'.repeat(0x4000)}\r\n`
    const chunked = await raw(
      `POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(8)}`,
      'too-large',
    )
    expect(chunked.status).toBe(413)
    const { body } = await loginBody(world.stranger)
    const padded = JSON.stringify(body).padEnd(60_000)
    expect((await post(padded)).status).toBe(201)
    await stillServes()
  })
  it('of 10,000 levels: refused', async () => {
    const { body } = await loginBody(world.stranger)
    const nested = `${'['.repeat(10_000)}${']'.repeat(10_000)}`
    const answer = await post(JSON.stringify({ ...body, lifetime: 0 }).replace('"lifetime":0', `"lifetime":${nested}`))
    expect(answer.status).toBe(400)
    expect(answer.body).toContain('nested deeper')
    expect((await post(JSON.stringify(body))).status).toBe(201)
  })
  it.each(['__proto__', 'constructor', 'prototype'])('with the key %s, on top or inside: refused', async name => {
    const { body } = await loginBody(world.stranger)
    const text = JSON.stringify(body)
    const on = (place: string) => post(text.replace(place, `${place}"${name}":{"administrator":true},`))
    for (const place of ['{', '"flow":{', '"proof":{']) {
      const answer = await on(place)
      expect(answer.status).toBe(400)
      expect(answer.body).toContain(`the key ${name} is not taken`)
    }
    expect((await post(text)).status).toBe(201)
    expect((await machineCall(world.bob.connection, 'GET', '/v1/persons')).code).toBe('denied')
  })
  it.each([
    ['another type', 'Content-Type: text/plain'],
    ['a form', 'Content-Type: application/x-www-form-urlencoded'],
    ['compression', 'Content-Type: application/json\r\nContent-Encoding: gzip'],
  ])('of %s: refused', async (_, header) => {
    const { body } = await loginBody(world.stranger)
    const text = JSON.stringify(body)
    const bytes = `POST /v1/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${header}\r\nContent-Length: ${text.length}\r\n\r\n${text}`
    expect((await raw(bytes)).status).toBe(400)
    expect((await raw(bytes.replace(header, 'Content-Type: application/json'))).status).toBe(201)
  })
})

describe('header injection and smuggling', () => {
  it.each([
    ['a line break of its own', 'X-A: b\nX-Admin: yes'],
    ['a folded line', 'X-A: b\r\n X-Admin: yes'],
    ['a NUL', 'X-A: b\0c'],
    ['a blank before the colon', 'X-A : b'],
    ['two lengths', 'Content-Length: 5\r\nContent-Length: 6'],
    ['length and coding', 'Content-Length: 5\r\nTransfer-Encoding: chunked'],
    ['another coding', 'Transfer-Encoding: xchunked'],
  ])('%s: refused, and the connection ends', async (_, header) => {
    const request = (line: string) =>
      `POST /v1/challenge HTTP/1.1\r\nHost: localhost\r\n${line}\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`
    const { status, whole } = await raw(request(header))
    expect(status).toBe(400)
    expect(whole.match(/HTTP\/1\.1 (?!400)/g), whole).toBeNull()
    expect((await raw(request('Transfer-Encoding: chunked'))).whole.match(/HTTP\/1\.1 200/g)).toHaveLength(2)
  })
  it('line breaks in an address come back in no header', async () => {
    for (const path of ['/v1/hosts/a%0d%0aSet-Cookie:%20x=1', '/%0d%0aX-Admin:%20yes'])
      expect(
        (await raw(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)).headers,
      ).not.toMatchObject({
        'set-cookie': expect.anything(),
      })
  })
})

it('X-Forwarded-For from a peer that is no trusted proxy changes nothing; from one that is, it counts', async () => {
  const from = async (localAddress: string) => {
    const { body } = await loginBody(world.stranger)
    const headers = { 'x-forwarded-for': '203.0.113.9', 'x-real-ip': '203.0.113.9', forwarded: 'for=203.0.113.9' }
    const started = await machineCall(world.stranger, 'POST', '/v1/login', { body, headers, localAddress })
    const transaction = z.object({ transaction: z.string() }).parse(started.body)
    return (await page(world.server, api.login.show, { params: transaction })).from
  }
  expect(await from('127.0.0.1')).toBe('127.0.0.1')
  if (process.platform === 'linux') expect(await from('127.0.0.5')).toBe('203.0.113.9')
})

it('500 connections that only wait keep nobody out', async () => {
  const waiting: Socket[] = []
  try {
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => {
        const socket = connect(i % 2 ? world.port.machines : world.port.pages, '127.0.0.1')
        waiting.push(socket.on('error', () => {}))
        return new Promise(resolve => socket.once('connect', resolve))
      }),
    )
    await stillServes()
    expect((await fetch(`${world.server.pagesUrl}/healthz`)).status).toBe(200)
  } finally {
    for (const socket of waiting) socket.destroy()
  }
})

const METACHARACTERS = [
  `x'; drop table person; --`,
  `x" or "1"="1`,
  `\\'; select pg_sleep(9); --`,
  '$1',
  `%' or 1=1 --`,
  'a\u0000b',
]

describe('SQL metacharacters', () => {
  it('in every text field of every route are refused or kept as they are, and break nothing', async () => {
    const persons = async () => (await call(world.alice.connection, api.persons.list)).persons.length
    const before = await persons()
    const inputs = routeInputs(world, host)
    for (const route of allRoutes.filter(each => !['session.end', 'revocations.own'].includes(each.id))) {
      const input = inputs[route.id] ?? {}
      for (const text of METACHARACTERS) {
        for (const body of route.body ? withEachTextChanged(input.body ?? {}, text) : [undefined]) {
          const params = Object.fromEntries([...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, text]))
          const own = route.body && input.params ? input.params : params
          const query = input.query?.replace(/=[^&]*/g, `=${encodeURIComponent(text)}`)
          const path = pathOf(route.path, { params: own, ...(query === undefined ? {} : { query }) })
          const answer = route.listeners.includes('machines')
            ? await machineCall(
                route.caller === 'host' ? host.connection : world.alice.connection,
                route.method,
                path,
                {
                  ...(body === undefined ? {} : { body }),
                },
              )
            : await pageCall(world.server, { ...route, path }, { body })
          answers.push(JSON.stringify(answer))
          expect([route.id, text, answer.status < 500]).toEqual([route.id, text, true])
        }
      }
    }
    expect(await persons()).toBe(before)
  })

  it('in texts that may hold them are kept to the letter', async () => {
    const name = `it's; drop table "person"; -- $1 %`
    const { passkeys } = await call(world.alice.connection, api.passkeys.list)
    const params = { id: passkeys[0]?.id ?? '' }
    const renamed = await call(world.alice.connection, api.passkeys.rename, { params, body: { name } })
    expect(renamed.name).toBe(name)
    expect((await call(world.alice.connection, api.passkeys.list)).passkeys[0]?.name).toBe(name)
  })
})

/** One body for each text in it, which is replaced. */
function withEachTextChanged(value: unknown, text: string): unknown[] {
  if (typeof value === 'string') return [text]
  if (Array.isArray(value))
    return value.flatMap((item, i) => withEachTextChanged(item, text).map(changed => value.with(i, changed)))
  if (typeof value !== 'object' || value === null) return [value]
  const entries = Object.entries(value)
  if (entries.length === 0) return [{ text }]
  return entries.flatMap(([key, item]) =>
    withEachTextChanged(item, text).map(changed => ({ ...value, [key]: changed })),
  )
}

it('a request that never ends is cut off', async () => {
  for (const { status } of await slow) expect(status).toBe(408)
  await stillServes()
})

describe('secrets', () => {
  it('stand in no answer to others, no log, no argument, and nowhere in what the server keeps', async () => {
    const linkSecret = new URL(world.server.ownerLink()).hash.slice(1)
    const { link } = await call(world.alice.connection, api.persons.invite, {
      body: bodyOf(api.persons.invite, { identity: 'sam@example.com' }),
    })
    const sam = await enrol(world.server, link, 'sam@example.com')
    const { options } = await page(world.server, api.signIn.options)
    const signedIn = await pageCall(world.server, api.signIn.complete, {
      body: { assertion: sam.authenticator.get(options) },
    })
    const session = await logIn(world.server, sam)
    const begun = await beginLogin(world.stranger)
    const code = await consent(world.server, sam, begun.started.transaction)
    const refused = [
      { grant: 'code', transaction: 'login_0123456789', code, codeVerifier: begun.codeVerifier },
      { grant: 'code', transaction: begun.started.transaction, code: linkSecret, codeVerifier: begun.codeVerifier },
      { grant: 'code', transaction: begun.started.transaction, code, codeVerifier: 'x' },
    ]
    for (const body of refused)
      answers.push((await machineCall(world.stranger, 'POST', '/v1/login/token', { body })).text)
    await call(world.stranger, api.login.token, {
      body: { grant: 'code', transaction: begun.started.transaction, code, codeVerifier: begun.codeVerifier },
    })
    const device = await call(world.stranger, api.login.start, {
      body: (await loginBody(world.stranger, 'device')).body,
    })
    const { token, secret: joinSecret } = await addHost(world, 'secretive.keyman.localhost')
    const badJoin = { ...(await joinBody(world.stranger, joinSecret)), labels: {} }
    answers.push((await machineCall(world.stranger, 'POST', '/v1/join', { body: badJoin })).text)
    answers.push((await machineCall(world.stranger, 'POST', '/v1/join', { body: { token } })).text)
    await call(world.stranger, api.hostSelf.join, { body: await joinBody(world.stranger, joinSecret) })
    const pasted = newKeys()
    const login = (await loginBody(world.stranger)).body
    const withPrivate = { ...login, sshPublicKey: pasted.client.pem }
    answers.push((await machineCall(world.stranger, 'POST', '/v1/login', { body: withPrivate })).text)
    // In a body, as a wrong field, and after the ? of an address: what is refused is logged, by its path alone.
    const { cookie = '' } = signedIn
    const params = { id: 'passkey_0123456789' }
    for (const body of [{ name: cookie }, { name: 'x', [cookie]: cookie }, { name: `${cookie}\n` }])
      answers.push(JSON.stringify(await pageCall(world.server, api.passkeys.rename, { cookie, params, body })))
    for (const secret of [cookie, code, joinSecret])
      answers.push((await machineCall(world.stranger, 'GET', `/v1/session?code=${secret}`)).text)

    const privateKeys = [session.keys, begun.keys, pasted].flatMap(({ client, ssh }) => [
      client.pem.split('\n')[1] ?? '',
      ssh.privateKey.export({ format: 'jwk' }).d ?? '',
      client.privateKey.export({ format: 'jwk' }).d ?? '',
    ])
    const secrets = {
      linkSecret,
      invitation: new URL(link).hash.slice(1),
      cookie: signedIn.cookie ?? '',
      code,
      codeVerifier: begun.codeVerifier,
      deviceCode: device.deviceCode ?? '',
      userCode: device.userCode ?? '',
      joinToken: token,
      joinSecret,
      ...Object.fromEntries(privateKeys.map((key, i) => [`private key ${i}`, key])),
    }
    for (const [name, secret] of Object.entries(secrets)) expect([name, secret.length > 7]).toEqual([name, true])
    const written = Object.entries(secrets).flatMap(([name, secret]) =>
      forms(secret).map(form => [name, form] as const),
    )
    const find = (where: string, text: string) => {
      for (const [name, form] of written) if (text.includes(form)) throw new Error(`${name} stands in ${where}`)
    }

    // The first owner's link is what the server is there to say; it stands nowhere else.
    find('the output', world.server.output().replace(world.server.ownerLink(), ''))
    for (const answer of answers) find('an answer', answer)
    if (process.platform === 'linux') find('its arguments', readFileSync(`/proc/${world.server.pid}/cmdline`, 'latin1'))
    const { records } = await call(world.alice.connection, api.auditTrail.list, { query: { limit: 1000 } })
    find('the audit log', JSON.stringify(records))
    expect(records.length).toBeGreaterThan(20)

    // Every byte that it keeps: the files of the database with its write-ahead log, then its rows.
    await world.server.stop()
    const { dataFolder } = world.server
    const files = readdirSync(dataFolder, { recursive: true, withFileTypes: true }).filter(each => each.isFile())
    expect(files.length).toBeGreaterThan(100)
    for (const { parentPath, name } of files) find(name, readFileSync(join(parentPath, name), 'latin1'))
    const store = await openStore({ engine: 'pglite', folder: join(dataFolder, 'database') })
    try {
      const tables = await store.query(
        `select table_name as name from information_schema.tables where table_schema = 'public'`,
        [],
        z.object({ name: z.string() }),
      )
      let rows = 0
      for (const { name } of tables)
        for (const { row } of await store.query(
          `select t::text as row from "${name}" t`,
          [],
          z.object({ row: z.string() }),
        )) {
          find(name, row)
          rows++
        }
      expect(rows).toBeGreaterThan(50)
      // What is looked for would be found: a value that does stand there is.
      const [state] = await store.query(
        'select oauth_state as state from login_transaction where oauth_state is not null limit 1',
        [],
        z.object({ state: z.string() }),
      )
      expect(
        files.some(({ parentPath, name }) =>
          readFileSync(join(parentPath, name), 'latin1').includes(state?.state ?? '-'),
        ),
      ).toBe(true)
    } finally {
      await store.close()
    }
  })
})

/** As it is, and as its bytes would stand in a file or, in hexadecimal, in a row. */
function forms(secret: string): string[] {
  const decoded = [fromBase64Url, fromBase64].flatMap(decode => {
    try {
      const bytes = decode(secret)
      return bytes.length >= 16 ? [bytes] : []
    } catch {
      return []
    }
  })
  return [
    secret,
    toHex(utf8(secret)),
    ...decoded.flatMap(bytes => [toHex(bytes), Buffer.from(bytes).toString('latin1')]),
  ]
}
