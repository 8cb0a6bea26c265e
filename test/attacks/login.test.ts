import { createServer, request as httpRequest } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { proveBoth } from '#cli/session/keys.ts'
import { listenLoopback } from '#cli/session/loopback.ts'
import { api } from '#shared/api/index.ts'
import { fromBase64Url, toBase64Url } from '#shared/bytes.ts'
import { loginChallenge } from '#shared/login-challenge.ts'
import {
  type ApiPerson,
  beginLogin,
  consent,
  enrol,
  inviteAndEnrol,
  page,
  pageCall,
} from '#test/support/people/api-person.ts'
import { Authenticator, type Change } from '#test/support/people/authenticator.ts'
import { openBrowser } from '#test/support/people/browser.ts'
import { rawExchange } from '#test/support/raw-http.ts'
import { requires } from '#test/support/requires.ts'
import {
  type AttackWorld,
  bodyOf,
  keptAlive,
  loginBody,
  machineCall,
  newKeys,
  openAttackWorld,
  outcome,
  s256,
} from '#test/support/worlds/attack-world.ts'

let world: AttackWorld
let alice: ApiPerson
let mallory: ApiPerson

beforeAll(async () => {
  // An address may try an account's passkey 100 times a minute; a stranger may call 3,000 times.
  world = await openAttackWorld({
    env: { KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '100', KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '3000' },
  })
  alice = world.alice.person
  mallory = await inviteAndEnrol(world.server, world.alice, 'mallory@example.com')
})
afterAll(() => world?.close())
afterEach(() => world.setClock(0))

const start = (change: (body: Record<string, unknown>) => unknown, kind: 'loopback' | 'device' = 'loopback') =>
  loginBody(world.stranger, kind).then(({ body }) =>
    machineCall(world.stranger, 'POST', '/v1/login', { body: change({ ...body }) }),
  )
const withFlow = (change: Record<string, unknown>) =>
  start(body => ({ ...body, flow: { ...Object(body.flow), ...change } }))

/** The touch of a passkey for a login, done `otherwise`; the code with which the page's call was refused, or `done`. */
async function touch(
  transaction: string,
  otherwise: Change | ((options: Record<string, unknown>) => unknown) = {},
  person: ApiPerson = alice,
): Promise<string> {
  const params = { transaction }
  const { options } = await page(world.server, api.login.consentOptions, { params })
  const assertion = typeof otherwise === 'function' ? otherwise(options) : person.authenticator.get(options, otherwise)
  const { problem } = await pageCall(world.server, api.login.consent, { params, body: { assertion } })
  return problem?.code ?? 'done'
}
const begun = async () => (await beginLogin(world.stranger)).started.transaction
const redeem = (transaction: string, code: string, codeVerifier: string) =>
  outcome(call(world.stranger, api.login.token, { body: { grant: 'code', transaction, code, codeVerifier } }))

describe('PKCE downgrade', () => {
  it('a login without a challenge, or with the method plain, does not begin', async () => {
    expect((await withFlow({ codeChallenge: undefined })).code).toBe('invalid-input')
    expect((await withFlow({ codeChallengeMethod: 'plain' })).code).toBe('invalid-input')
    expect((await withFlow({})).status).toBe(201)
  })
  it('a code is not redeemed without a verifier, nor by the challenge itself as verifier', async () => {
    const { started, codeVerifier } = await beginLogin(world.stranger)
    const code = await consent(world.server, alice, started.transaction)
    const token = { grant: 'code', transaction: started.transaction, code }
    const without = await machineCall(world.stranger, 'POST', '/v1/login/token', { body: token })
    expect(without.code).toBe('invalid-input')
    expect(await redeem(started.transaction, code, s256(codeVerifier))).toBe('denied')
    const other = await beginLogin(world.stranger)
    const good = await consent(world.server, alice, other.started.transaction)
    expect(await redeem(other.started.transaction, good, other.codeVerifier)).toBe('done')
  })
})

describe('state', () => {
  it('missing at the server: the login does not begin', async () => {
    expect((await withFlow({ state: undefined })).code).toBe('invalid-input')
    expect((await withFlow({ state: 'short' })).code).toBe('invalid-input')
  })
  it('missing, wrong or of an earlier login at the loopback page: changes nothing; the right one ends the login', async () => {
    const earlier = await listenLoopback()
    earlier.close()
    const loopback = await listenLoopback()
    const answer = async (query: string) => (await fetch(`${loopback.redirectUri}?${query}`)).status
    expect(await answer('code=stolen')).toBe(400)
    expect(await answer(`code=stolen&state=${toBase64Url(new Uint8Array(32))}`)).toBe(400)
    expect(await answer(`code=stolen&state=${earlier.state}`)).toBe(400)
    expect(await answer(`code=own&state=${loopback.state}`)).toBe(200)
    expect(await loopback.code).toBe('own')
    loopback.close()
  })
})

it('code used twice: the second gets nothing', async () => {
  const { started, codeVerifier } = await beginLogin(world.stranger)
  const code = await consent(world.server, alice, started.transaction)
  expect(await redeem(started.transaction, code, codeVerifier)).toBe('done')
  expect(await redeem(started.transaction, code, codeVerifier)).toBe('expired')
})

it('code used by another key: at the transaction of other keys, or with the verifier of another, it gives nothing', async () => {
  const own = await beginLogin(world.stranger)
  const code = await consent(world.server, alice, own.started.transaction)
  const thief = await beginLogin(world.stranger)
  expect(await redeem(thief.started.transaction, code, thief.codeVerifier)).toBe('denied')
  expect(await redeem(own.started.transaction, code, own.codeVerifier)).toBe('done')
  const next = await beginLogin(world.stranger)
  const stolen = await consent(world.server, alice, next.started.transaction)
  expect(await redeem(next.started.transaction, stolen, thief.codeVerifier)).toBe('denied')
})

it.each([
  'http://evil.example:1/callback',
  'https://127.0.0.1:1/callback',
  'http://localhost:1/callback',
  'http://127.0.0.1.evil.example:1/callback',
  'http://127.0.0.1:1@evil.example/callback',
  'http://127.0.0.1:1/call\r\nback',
  'http://0.0.0.0:1/callback',
  '//evil.example/callback',
  'javascript:alert(1)',
])('redirect to a non-loopback address, %j: refused', async redirectUri => {
  expect((await withFlow({ redirectUri })).code).toBe('invalid-input')
})
it.each(['http://127.0.0.1:1/callback', 'http://[::1]:1/callback'])('redirect to %s: taken', async redirectUri => {
  expect((await withFlow({ redirectUri })).status).toBe(201)
})

describe('device login', () => {
  it('code approved for a key that was swapped: what the passkey signed for one is not taken for the other', async () => {
    const own = await begun()
    const swapped = await beginLogin(world.stranger)
    const otherKeys = (options: Record<string, unknown>) => {
      const challenge = loginChallenge({
        nonce: fromBase64Url(String(options.challenge)),
        sshPublicKey: swapped.keys.ssh.publicKey.blob,
        clientSpki: swapped.keys.client.spki,
        lifetime: 3600,
        device: 'test',
        origin: world.server.pagesUrl,
      })
      return alice.authenticator.get(options, { challenge: toBase64Url(challenge) })
    }
    expect(await touch(own, otherKeys)).toBe('denied')
    const ownOptions = await page(world.server, api.login.consentOptions, { params: { transaction: own } })
    expect(await touch(swapped.started.transaction, () => alice.authenticator.get(ownOptions.options))).toBe('denied')
    expect(await touch(own)).toBe('done')
  })
  it("stolen cookie approving its own device code: a cookie is no consent, and a touch is its own person's", async () => {
    const signedIn = await signIn(alice)
    const { body } = await loginBody(world.stranger, 'device')
    const device = await call(world.stranger, api.login.start, { body })
    const params = { transaction: device.transaction }
    const approve = (assertion: unknown) =>
      pageCall(world.server, api.login.consent, { params, cookie: signedIn, body: { assertion } })
    expect((await approve({})).problem?.code).toBe('invalid-input')
    expect((await approve(undefined)).problem?.code).toBe('invalid-input')
    const forSigningIn = await page(world.server, api.signIn.options)
    expect((await approve(alice.authenticator.get(forSigningIn.options))).problem?.code).toBe('denied')
    const options = await page(world.server, api.login.consentOptions, { params, cookie: signedIn })
    const ownTouch = await approve(mallory.authenticator.get(options.options))
    expect(ownTouch.body.person).toBe('mallory@example.com')
  })
  it('is not shown by a link: only whoever types its code sees it', async () => {
    const { body } = await loginBody(world.stranger, 'device')
    const device = await call(world.stranger, api.login.start, { body })
    const params = { transaction: device.transaction }
    expect((await pageCall(world.server, api.login.show, { params })).problem?.code).toBe('denied')
    const found = await pageCall(world.server, api.login.find, { body: { userCode: device.userCode } })
    expect(found.body.transaction).toBe(device.transaction)
    expect(device.page).not.toContain(device.userCode)
  })
})

/** The cookie of a browser that signs in. */
async function signIn(person: ApiPerson, planted?: string): Promise<string> {
  const { options } = await page(world.server, api.signIn.options)
  const answer = await pageCall(world.server, api.signIn.complete, {
    body: { assertion: person.authenticator.get(options) },
    cookie: planted,
  })
  if (answer.cookie === undefined) throw new Error(`no cookie: ${answer.status}`)
  return answer.cookie
}
const seenAs = async (cookie: string) => {
  const { body, problem } = await pageCall(world.server, api.session.show, { cookie })
  return problem?.code ?? body.person
}

it('login CSRF: another page can neither sign a browser in nor consent; our own can', async () => {
  const transaction = await begun()
  const params = { transaction }
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { origin: world.server.pagesUrl, 'sec-fetch-site': 'cross-site' },
    { origin: `${world.server.pagesUrl}.evil.example` },
  ]) {
    const { options } = await page(world.server, api.signIn.options)
    const body = { assertion: mallory.authenticator.get(options) }
    expect((await pageCall(world.server, api.signIn.complete, { body, headers })).problem?.code).toBe('denied')
    expect((await pageCall(world.server, api.login.consentOptions, { params, headers })).problem?.code).toBe('denied')
  }
  expect(await touch(transaction)).toBe('done')
})

it('session fixation: a cookie that was there before the sign-in, planted or not, is worth nothing after it', async () => {
  const planted = await signIn(mallory)
  expect(await seenAs(planted)).toBe('mallory@example.com')
  const own = await signIn(alice, planted)
  expect(own).not.toBe(planted)
  expect(await seenAs(planted)).toBe('not-signed-in')
  expect(await seenAs(own)).toBe('alice@example.com')
  expect(await seenAs(await signIn(alice, toBase64Url(new Uint8Array(32))))).toBe('alice@example.com')
})

it('the cookie is bound to this host, out of reach for scripts, and not sent from other sites', async () => {
  const { options } = await page(world.server, api.signIn.options)
  const response = await fetch(`${world.server.pagesUrl}/v1/sign-in`, {
    method: 'POST',
    headers: { origin: world.server.pagesUrl, 'content-type': 'application/json' },
    body: JSON.stringify({ assertion: alice.authenticator.get(options) }),
  })
  expect(response.headers.get('set-cookie')).toMatch(
    /^__Host-keyman=[A-Za-z0-9_-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict$/,
  )
})

describe("a passkey's assertion", () => {
  const wrong: readonly (readonly [string, Change])[] = [
    ['without user verification', { userVerified: false }],
    ['of the wrong origin', { origin: 'https://evil.example' }],
    ['of the wrong RP ID', { rpId: 'evil.example' }],
    ['given to a page in a frame', { crossOrigin: true }],
    ['of another ceremony', { type: 'webauthn.create' }],
    ['with a bad signature', { badSignature: true }],
    ['with a challenge of its own', { challenge: toBase64Url(new Uint8Array(32)) }],
    ['that names another account', { userHandle: toBase64Url(new Uint8Array(64)) }],
    ['that names no account', { userHandle: undefined }],
  ]
  it.each(wrong)('%s: refused; the same without that is taken', async (_, change) => {
    const transaction = await begun()
    expect(await touch(transaction, change)).toBe('denied')
    expect(await touch(transaction)).toBe('done')
  })

  it('replayed, at its own login and at another: refused', async () => {
    const [first, second] = [await begun(), await begun()]
    let kept: unknown
    const keep = (options: Record<string, unknown>) => {
      kept = alice.authenticator.get(options)
      return kept
    }
    expect(await touch(first, keep)).toBe('done')
    const again = (transaction: string) =>
      pageCall(world.server, api.login.consent, { params: { transaction }, body: { assertion: kept } })
    expect((await again(first)).problem?.code).toBe('expired')
    expect((await again(second)).problem?.code).toBe('denied')
  })

  it('given for a login signs no browser in, and one given for signing in allows no login', async () => {
    const params = { transaction: await begun() }
    const forLogin = await page(world.server, api.login.consentOptions, { params })
    const forSigningIn = await page(world.server, api.signIn.options)
    const complete = (assertion: unknown) => pageCall(world.server, api.signIn.complete, { body: { assertion } })
    expect((await complete(alice.authenticator.get(forLogin.options))).problem?.code).toBe('denied')
    expect(await touch(params.transaction, () => alice.authenticator.get(forSigningIn.options))).toBe('denied')
    expect(
      (await complete(alice.authenticator.get((await page(world.server, api.signIn.options)).options))).status,
    ).toBe(200)
    expect(await touch(params.transaction)).toBe('done')
  })

  it("of another account's credential under one's own name: refused", async () => {
    const transaction = await begun()
    const { userHandle } = mallory.authenticator.credentials[0] ?? {}
    expect(await touch(transaction, { userHandle })).toBe('denied')
    expect(await touch(transaction)).toBe('done')
  })

  it('made by a credential ID that somebody else has registered: not registered a second time', async () => {
    const { link } = await call(world.alice.connection, api.persons.invite, {
      body: bodyOf(api.persons.invite, { identity: 'carol@example.com' }),
    })
    const secret = new URL(link).hash.slice(1)
    const about = { secret, identity: 'carol@example.com' }
    const complete = async (change: Change) => {
      const authenticator = new Authenticator(world.server.pagesUrl)
      const { options } = await page(world.server, api.enrolment.options, { body: about })
      const body = { ...about, passkeyName: 'test', registration: authenticator.create(options, change) }
      return (await pageCall(world.server, api.enrolment.complete, { body })).problem?.code
    }
    const { id } = alice.authenticator.credentials[0] ?? {}
    expect(await complete(id ? { credentialId: id } : {})).toBe('conflict')
    expect(await complete({})).toBeUndefined()
  })

  it("of a cloned authenticator, whose counter goes backwards or stands still: refused; forwards it's taken", async () => {
    const { link } = await call(world.alice.connection, api.persons.invite, {
      body: bodyOf(api.persons.invite, { identity: 'dave@example.com' }),
    })
    const secret = new URL(link).hash.slice(1)
    const about = { secret, identity: 'dave@example.com' }
    const authenticator = new Authenticator(world.server.pagesUrl, { counting: true })
    const { options } = await page(world.server, api.enrolment.options, { body: about })
    await page(world.server, api.enrolment.complete, {
      body: { ...about, passkeyName: 'test', registration: authenticator.create(options) },
    })
    const dave: ApiPerson = { identity: 'dave@example.com', authenticator }
    expect(await touch(await begun(), { counter: 10 }, dave)).toBe('done')
    const transaction = await begun()
    expect(await touch(transaction, { counter: 9 }, dave)).toBe('denied')
    expect(await touch(transaction, { counter: 10 }, dave)).toBe('denied')
    expect(await touch(transaction, { counter: 11 }, dave)).toBe('done')
  })
})

it('an enrolment link used twice makes no second person', async () => {
  expect(await outcome(enrol(world.server, world.server.ownerLink(), 'eve@example.com'))).toBe('internal')
  const { secret } = { secret: new URL(world.server.ownerLink()).hash.slice(1) }
  const opened = await pageCall(world.server, api.enrolment.open, { body: { secret } })
  expect(opened.problem?.code).toBe('expired')
})

describe('a stolen client certificate (with its key)', () => {
  const certify = (publicKey: string) =>
    outcome(call(world.bob.connection, api.ssh.issueUserCertificate, { body: { publicKey } }))

  it("gets no other key certified; the session's own key is another matter", async () => {
    await call(world.alice.connection, api.hosts.add, {
      body: bodyOf(api.hosts.add, { name: 'web1.keyman.localhost' }),
    })
    await call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, {
        who: 'bob@example.com',
        login: 'deploy',
        hosts: { host: 'web1.keyman.localhost' },
      }),
    })
    expect(await certify(newKeys().ssh.line)).toBe('denied')
    expect(await certify(world.bob.keys.ssh.line)).toBe('done')
  })

  it('does not begin a session with other keys: a proof needs the keys themselves', async () => {
    const { body, keys, challenge } = await loginBody(world.stranger)
    const stolen = { ...keys, client: newKeys().client }
    const proof = proveBoth(stolen, 'login', challenge)
    const forged = await machineCall(world.alice.connection, 'POST', '/v1/login', { body: { ...body, proof } })
    expect(forged.code).toBe('denied')
    expect((await machineCall(world.alice.connection, 'POST', '/v1/login', { body })).status).toBe(201)
  })
})

describe('a page of another site', () => {
  const pages = ['/', '/enrol', '/device', '/login/login_0123456789', '/confirm/action_0123456789', '/v1/session']
  it.each(pages)('frames %s in vain: every answer forbids it', async path => {
    const { headers } = await fetch(world.server.pagesUrl + path)
    expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
    expect(headers.get('x-frame-options')).toBe('DENY')
    const framed = await rawExchange(
      { port: world.port.pages },
      `GET ${path} HTTP/1.1\r\nHost: localhost:${world.port.pages}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nConnection: close\r\n\r\n`,
    )
    expect(framed.status).toBe(403)
  })

  it.skipIf(!requires('chromium'))(
    'in Chromium shows nothing of ours in a frame; a page that allows it is shown',
    async () => {
      const evil = createServer((request, response) => {
        const inner =
          request.url === '/inner' ? 'shown' : `<iframe src="/inner"></iframe><iframe src="${ours}"></iframe>`
        response.setHeader('content-type', 'text/html').end(inner)
      })
      const ours = `${world.server.pagesUrl}/device`
      await new Promise<void>(resolve => evil.listen(0, '127.0.0.1', resolve))
      const address = evil.address()
      const browser = await openBrowser()
      try {
        const { page } = await browser.person()
        await page.goto(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/`)
        const frames = () => page.frames().map(frame => frame.url())
        await expect.poll(frames).toContainEqual(expect.stringMatching(/^chrome-error:/))
        expect(frames()).toContainEqual(expect.stringMatching(/inner$/))
      } finally {
        await browser.close()
        evil.close()
      }
    },
  )
})

it('DNS rebinding: the pages, and the loopback page of a login, answer to their own name alone', async () => {
  const get = (port: number, host: string, path: string) =>
    new Promise<number>((resolve, reject) => {
      httpRequest({ port, host: '127.0.0.1', path, headers: { host } }, response => {
        response.resume()
        resolve(response.statusCode ?? 0)
      })
        .on('error', reject)
        .end()
    })
  const { pages } = world.port
  for (const host of ['evil.example', `evil.example:${pages}`, `127.0.0.1:${pages}`, `localhost.evil.example:${pages}`])
    expect(await get(pages, host, '/healthz')).toBe(403)
  expect(await get(pages, `localhost:${pages}`, '/healthz')).toBe(200)

  const loopback = await listenLoopback()
  const { port, pathname } = new URL(loopback.redirectUri)
  const path = `${pathname}?code=x&state=${loopback.state}`
  expect(await get(Number(port), `evil.example:${port}`, path)).toBe(404)
  expect(await get(Number(port), `127.0.0.1:${port}`, path)).toBe(200)
  loopback.close()
})

// Loopback has more addresses than one on Linux alone.
describe.skipIf(process.platform !== 'linux')('floods', () => {
  it('of strangers are turned away by address; who is signed in, and every other address, goes on', async () => {
    const agent = keptAlive()
    const flood = () =>
      machineCall({ ...world.stranger }, 'POST', '/v1/challenge', { agent, localAddress: '127.0.0.3' })
    let answer = await flood()
    for (let sent = 1; answer.status === 200 && sent < 5000; sent++) answer = await flood()
    expect(answer.code).toBe('too-many-requests')
    expect(answer.body).toMatchObject({ retryAfter: expect.any(Number) })
    agent.destroy()
    const signedIn = await machineCall(world.bob.connection, 'GET', '/v1/session', { localAddress: '127.0.0.3' })
    expect(signedIn.status).toBe(200)
    expect((await machineCall(world.stranger, 'POST', '/v1/challenge')).status).toBe(200)
  })

  it('of calls without a certificate are turned away by address, and who is signed in goes on', async () => {
    const agent = keptAlive()
    const from = { localAddress: '127.0.0.5' }
    const flood = () => machineCall({ ...world.stranger }, 'GET', '/v1/session', { agent, ...from })
    let answer = await flood()
    expect(answer.code).toBe('not-signed-in')
    for (let sent = 1; answer.code === 'not-signed-in' && sent < 5000; sent++) answer = await flood()
    expect(answer.code).toBe('too-many-requests')
    agent.destroy()
    expect((await machineCall(world.bob.connection, 'GET', '/v1/session', from)).status).toBe(200)
  })

  it('of false assertions slow down one address for one account, and lock nobody out', async () => {
    const body = (options: Record<string, unknown>) =>
      JSON.stringify({ assertion: alice.authenticator.get(options, { badSignature: true }) })
    const attempt = async () => {
      const { options } = await page(world.server, api.signIn.options)
      const text = body(options)
      return rawExchangeFrom('127.0.0.4', `/v1/sign-in`, text)
    }
    let answer = await attempt()
    for (let sent = 1; answer === 'denied' && sent < 500; sent++) answer = await attempt()
    expect(answer).toBe('too-many-requests')
    expect(await seenAs(await signIn(alice))).toBe('alice@example.com')
  })

  function rawExchangeFrom(localAddress: string, path: string, body: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const { pages } = world.port
      const headers = { host: `localhost:${pages}`, origin: world.server.pagesUrl, 'content-type': 'application/json' }
      const sent = httpRequest({ port: pages, host: '127.0.0.1', path, method: 'POST', localAddress, headers })
      sent.on('error', reject).on('response', response => {
        let text = ''
        response.on('data', chunk => {
          text += chunk
        })
        response.on('end', () => resolve(String(JSON.parse(text).code)))
      })
      sent.end(body)
    })
  }
})
