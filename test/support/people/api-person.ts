import { createHash, randomBytes } from 'node:crypto'
import { type Connection, call } from '#cli/server/client.ts'
import { type LoginKeys, makeLoginKeys, proveBoth } from '#cli/session/keys.ts'
import { api, type Problem, type Route } from '#shared/api/index.ts'
import { toBase64, toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { Authenticator } from './authenticator.ts'

/** Where a running server is, and what it said. */
export type Target = { readonly pagesUrl: string; readonly machinesUrl: string }

/** The answer of a page's call, refused or not. */
export type PageAnswer<Answer> = {
  readonly status: number
  readonly body: Answer
  readonly problem?: Problem
  readonly cookie?: string
}

/** One call to the pages as a page makes it: with our Origin, unless `headers` say otherwise. */
export async function pageCall<Query, Body, Answer>(
  target: Target,
  route: Route<Query, Body, Answer>,
  input: {
    params?: Record<string, string>
    body?: unknown
    cookie?: string | undefined
    headers?: Record<string, string>
  } = {},
): Promise<PageAnswer<Answer>> {
  const path = route.path.replace(/\{(\w+)\}/g, (_, word: string) => encodeURIComponent(input.params?.[word] ?? ''))
  const response = await fetch(target.pagesUrl + path, {
    method: route.method,
    redirect: 'manual',
    headers: {
      origin: target.pagesUrl,
      ...(input.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(input.cookie === undefined ? {} : { cookie: `__Host-keyman=${input.cookie}` }),
      ...input.headers,
    },
    ...(input.body === undefined ? {} : { body: JSON.stringify(input.body) }),
  })
  const [, cookie] = /__Host-keyman=([^;]*)/.exec(response.headers.get('set-cookie') ?? '') ?? []
  const text = await response.text()
  const body = text === '' ? undefined : JSON.parse(text)
  return {
    status: response.status,
    body,
    ...(response.ok ? {} : { problem: body }),
    ...(cookie === undefined ? {} : { cookie }),
  }
}

/** A page's call that must succeed. */
export async function page<Query, Body, Answer>(
  ...args: Parameters<typeof pageCall<Query, Body, Answer>>
): Promise<Answer> {
  const { status, body, problem } = await pageCall<Query, Body, Answer>(...args)
  if (problem) throw new KeymanError('internal', `${args[1].path}: ${status} ${problem.code}: ${problem.detail}`)
  return body
}

/** A person without a browser: a software authenticator that makes real assertions, and the CLI's own client. */
export type ApiPerson = { readonly identity: string; readonly authenticator: Authenticator }
export type ApiSession = {
  readonly connection: Connection
  readonly keys: LoginKeys
  readonly person: ApiPerson
  readonly login: LoginAnswer
}
export type LoginAnswer = Extract<Awaited<ReturnType<typeof redeemed>>, { state: 'done' }>['login']

/** Uses an enrolment link (`…/enrol#SECRET`). */
export async function enrol(target: Target, link: string, identity: string): Promise<ApiPerson> {
  const secret = new URL(link).hash.slice(1)
  const authenticator = new Authenticator(target.pagesUrl)
  const { options } = await page(target, api.enrolment.options, { body: { secret, identity } })
  const registration = authenticator.create(options)
  await page(target, api.enrolment.complete, { body: { secret, identity, passkeyName: 'test', registration } })
  return { identity, authenticator }
}

/** The machines' root, from the bundle: tests of trust itself are elsewhere. */
export async function machinesConnection(target: Target): Promise<Connection> {
  const { bundles } = await call({ url: target.machinesUrl, root: undefined }, api.trust.show)
  const bundle = parseTrustDocument(bundles.at(-1)?.document ?? '')
  return { url: target.machinesUrl, root: bundle.x509.map(authority => authority.certificate).join('\n') }
}

/** What a machine sends to begin a login, with the secrets that it keeps. */
export async function beginLogin(connection: Connection, options: { lifetime?: number; keys?: LoginKeys } = {}) {
  const keys = options.keys ?? makeLoginKeys('test')
  const codeVerifier = toBase64Url(randomBytes(32))
  const { challenge } = await call(connection, api.login.challenge)
  const started = await call(connection, api.login.start, {
    body: {
      flow: {
        kind: 'loopback',
        redirectUri: 'http://127.0.0.1:1/callback',
        codeChallenge: toBase64Url(createHash('sha256').update(codeVerifier).digest()),
        state: toBase64Url(randomBytes(32)),
      },
      sshPublicKey: keys.ssh.line,
      clientPublicKey: toBase64(keys.client.spki),
      lifetime: options.lifetime ?? 3600,
      device: 'test',
      proof: proveBoth(keys, 'login', challenge),
    },
  })
  return { keys, codeVerifier, started }
}

/** The person's touch: gives the code that the browser would bring to the loopback address. */
export async function consent(target: Target, person: ApiPerson, transaction: string): Promise<string> {
  const params = { transaction }
  const { options } = await page(target, api.login.consentOptions, { params })
  const { redirectTo } = await page(target, api.login.consent, {
    params,
    body: { assertion: person.authenticator.get(options) },
  })
  return new URL(redirectTo ?? '').searchParams.get('code') ?? ''
}

const redeemed = (connection: Connection, transaction: string, code: string, codeVerifier: string) =>
  call(connection, api.login.token, { body: { grant: 'code', transaction, code, codeVerifier }, deadline: 20_000 })

/** A whole login. */
export async function logIn(
  target: Target,
  person: ApiPerson,
  options: { lifetime?: number; connection?: Connection } = {},
): Promise<ApiSession> {
  const anonymous = options.connection ?? (await machinesConnection(target))
  const { keys, codeVerifier, started } = await beginLogin(anonymous, options)
  const code = await consent(target, person, started.transaction)
  const answer = await redeemed(anonymous, started.transaction, code, codeVerifier)
  if (answer.state !== 'done') throw new Error(`the login is ${answer.state}`)
  return {
    connection: {
      ...sessionConnection(anonymous, keys, answer.login.client.certificate),
      // The person is there, and touches the passkey for whatever this session asks.
      confirm: ({ id }) => confirm(target, person, id),
    },
    keys,
    person,
    login: answer.login,
  }
}

export const sessionConnection = (connection: Connection, keys: LoginKeys, certificate: string): Connection => ({
  ...connection,
  client: { key: keys.client.pem, certificate },
})

/** The same, where nobody is there to touch a passkey: what a thief has. */
export const untouched = ({ confirm: _, ...connection }: Connection): Connection => connection

/** Confirms an action's transaction with the person's passkey. */
export async function confirm(target: Target, person: ApiPerson, transaction: string): Promise<void> {
  const params = { transaction }
  const { options } = await page(target, api.actions.options, { params })
  await page(target, api.actions.confirm, { params, body: { assertion: person.authenticator.get(options) } })
}

/** A page's call that wants a touch, with the touch: as the page itself does it. Gives the cookie, which changes with it. */
export async function touchedPage<Query, Body, Answer>(
  target: Target,
  person: ApiPerson,
  route: Route<Query, Body, Answer>,
  input: { params?: Record<string, string>; body?: unknown; cookie: string | undefined },
): Promise<{ readonly cookie: string | undefined; readonly answer: PageAnswer<Answer> }> {
  const { problem } = await pageCall(target, route, input)
  const transaction = problem?.transaction?.id ?? ''
  const params = { transaction }
  const { options } = await page(target, api.actions.options, { params })
  const body = { assertion: person.authenticator.get(options) }
  const { cookie } = await pageCall(target, api.actions.confirm, { params, body, cookie: input.cookie })
  const headers = { 'keyman-touch': transaction }
  return { cookie, answer: await pageCall(target, route, { ...input, cookie, headers }) }
}

/** Invites somebody as an administrator, and enrols that person. */
export async function inviteAndEnrol(
  target: Target,
  owner: ApiSession,
  identity: string,
  options: { owner?: boolean } = {},
): Promise<ApiPerson> {
  const { link } = await call(owner.connection, api.persons.invite, {
    body: { identity: parsePersonIdentity(identity, 'identity'), owner: options.owner ?? false, lifetime: 86_400 },
  })
  return enrol(target, link, identity)
}
