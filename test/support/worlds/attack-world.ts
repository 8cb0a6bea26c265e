import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { z } from 'zod'
import { openStream, type Stream } from '#agent/server/stream.ts'
import { type Connection, call } from '#cli/server/client.ts'
import { type LoginKeys, makeLoginKeys, proveBoth } from '#cli/session/keys.ts'
import { api, type hostStream, type Route } from '#shared/api/index.ts'
import { toBase64, toBase64Url } from '#shared/bytes.ts'
import { type ErrorCode, KeymanError } from '#shared/errors.ts'
import { parseJoinToken } from '#shared/join-token.ts'
import { parseHostName } from '#shared/names.ts'
import { type ApiSession, enrol, inviteAndEnrol, logIn, machinesConnection } from '../people/api-person.ts'
import { SERVER } from '../programs/programs.ts'
import { type ServerProcess, startServerProcess, testHome } from '../programs/server-process.ts'

const root = join(import.meta.dirname, '..', '..', '..')

/** A running server as an attacker meets it: Alice administers, Bob may do nothing in particular, Mallory attacks. */
export type AttackWorld = {
  readonly server: ServerProcess
  /** Without a client certificate. */
  readonly stranger: Connection
  readonly alice: ApiSession
  readonly bob: ApiSession
  readonly port: { readonly pages: number; readonly machines: number }
  /** Sets the server's clock ahead of the real one, by so many seconds in all. */
  setClock(seconds: number): void
  close(): Promise<void>
}

export async function openAttackWorld(
  options: { env?: NodeJS.ProcessEnv; demo?: boolean; openFiles?: number } = {},
): Promise<AttackWorld> {
  const folder = testHome()
  const clockFile = join(folder, 'clock')
  const setClock = (seconds: number) => writeFileSync(clockFile, String(seconds))
  setClock(0)
  const server = await startServerProcess({
    folder,
    env: {
      TEST_CLOCK_FILE: clockFile,
      KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '100000',
      KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000',
      KEYMAN_LIMITS_CALLERS_PER_MINUTE: '1000000',
      ...options.env,
    },
    ...(options.demo === undefined ? {} : { demo: options.demo }),
    ...(options.openFiles === undefined ? {} : { openFiles: options.openFiles }),
    program: ['--import', join(root, 'test', 'support', 'clock.ts'), SERVER],
  })
  const stranger = await machinesConnection(server)
  const alice = await logIn(server, await enrol(server, server.ownerLink(), 'alice@example.com'))
  const bob = await logIn(server, await inviteAndEnrol(server, alice, 'bob@example.com'))
  const portOf = (url: string) => Number(new URL(url).port)
  return {
    server,
    stranger,
    alice,
    bob,
    port: { pages: portOf(server.pagesUrl), machines: portOf(server.machinesUrl) },
    setClock,
    close: () => server.close(),
  }
}

/** The code with which a call was refused; `done` where it was not. */
export async function outcome(work: Promise<unknown>): Promise<ErrorCode | 'done'> {
  try {
    await work
    return 'done'
  } catch (error) {
    if (error instanceof KeymanError) return error.code
    throw error
  }
}

/** The refusal itself. */
export async function refusal(work: Promise<unknown>): Promise<KeymanError> {
  try {
    await work
  } catch (error) {
    if (error instanceof KeymanError) return error
    throw error
  }
  throw new Error('it was not refused')
}

export type Answer = { readonly status: number; readonly body: unknown; readonly code: string; readonly text: string }

/** One request to the machines' listener with exactly this body, whatever the schemas say; with `agent` on its connection. Whoever is there touches a passkey where one is wanted. */
export async function machineCall(
  connection: Connection,
  method: string,
  path: string,
  input: MachineInput = {},
): Promise<Answer & { readonly reused: boolean }> {
  const answer = await exchange(connection, method, path, input)
  const { success, data } = refusedForTouch.safeParse(answer.body)
  if (!success || !connection.confirm) return answer
  await connection.confirm(data.transaction, '')
  const headers = { ...input.headers, 'keyman-touch': data.transaction.id }
  return exchange(connection, method, path, { ...input, headers })
}

type MachineInput = { body?: unknown; headers?: Record<string, string>; agent?: Agent; localAddress?: string }
const refusedForTouch = z.looseObject({ transaction: z.object({ id: z.string(), url: z.string() }) })

function exchange(
  connection: Connection,
  method: string,
  path: string,
  input: MachineInput,
): Promise<Answer & { readonly reused: boolean }> {
  const payload = input.body === undefined ? undefined : JSON.stringify(input.body)
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, connection.url), {
      method,
      agent: input.agent ?? false,
      ...tlsOf(connection),
      ...(input.localAddress === undefined ? {} : { localAddress: input.localAddress }),
      headers: {
        ...(payload === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
        ...input.headers,
      },
    })
    sent.on('error', reject)
    sent.on('response', response => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text, ...read(text), reused: sent.reusedSocket }),
      )
    })
    sent.end(payload)
  })
}

/** One connection that is kept alive. */
export const keptAlive = (): Agent => new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 })

export const tlsOf = (connection: Connection) => ({
  ...(connection.root === undefined ? {} : { ca: connection.root }),
  ...(connection.client ? { key: connection.client.key, cert: connection.client.certificate } : {}),
})

export function read(text: string): { body: unknown; code: string } {
  try {
    const body: unknown = JSON.parse(text)
    const code = typeof body === 'object' && body !== null && 'code' in body ? String(body.code) : ''
    return { body, code }
  } catch {
    return { body: undefined, code: '' }
  }
}

/** The body of `POST /v1/login` and what its machine keeps; each part can be made wrong. */
export async function loginBody(connection: Connection, kind: 'loopback' | 'device' = 'loopback', keys = newKeys()) {
  const codeVerifier = toBase64Url(randomBytes(32))
  const state = toBase64Url(randomBytes(32))
  const flow =
    kind === 'device'
      ? ({ kind } as const)
      : { kind, redirectUri: 'http://127.0.0.1:1/callback', codeChallenge: s256(codeVerifier), state }
  const { challenge } = await call(connection, api.login.challenge)
  const body = {
    flow,
    sshPublicKey: keys.ssh.line,
    clientPublicKey: toBase64(keys.client.spki),
    lifetime: 3600,
    device: 'test',
    proof: proveBoth(keys, 'login', challenge),
  }
  return { body, keys, codeVerifier, state, challenge }
}
export const s256 = (text: string): string => toBase64Url(createHash('sha256').update(text).digest())
export const newKeys = (): LoginKeys => makeLoginKeys('test')

/** Names a host as administrator; the token's secret is what a joiner sends. */
export async function addHost(world: Pick<AttackWorld, 'alice'>, name: string, more: Record<string, unknown> = {}) {
  const body = { labels: { env: 'test' }, port: 22, tokenLifetime: 3600, ...more, name: parseHostName(name, 'name') }
  const { token } = await call(world.alice.connection, api.hosts.add, { body })
  return { token, secret: parseJoinToken(token).secret }
}

/** What a joiner sends. */
export async function joinBody(connection: Connection, secret: string, keys = newKeys()) {
  const { challenge } = await call(connection, api.login.challenge)
  return {
    token: secret,
    clientPublicKey: toBase64(keys.client.spki),
    sshPublicKey: keys.ssh.line,
    proof: proveBoth(keys, 'join', challenge),
  }
}

export type JoinedHost = { readonly name: string; readonly keys: LoginKeys; readonly connection: Connection }

/** A whole host, without its agent. */
export async function joinHost(
  world: Pick<AttackWorld, 'alice' | 'stranger'>,
  name: string,
  more: Record<string, unknown> = {},
): Promise<JoinedHost> {
  const { secret } = await addHost(world, name, more)
  const keys = newKeys()
  const { client } = await call(world.stranger, api.hostSelf.join, {
    body: await joinBody(world.stranger, secret, keys),
  })
  const connection = { ...world.stranger, client: { key: keys.client.pem, certificate: client.certificate } }
  return { name, keys, connection }
}

/** A host's stream, as its agent opens it; nothing has been said yet. */
export async function hostStreamOf(
  { connection: { url, root = '', client } }: Pick<JoinedHost, 'connection'>,
  onFrame: (frame: hostStream.FrameToAgent) => void = () => {},
): Promise<Stream> {
  if (!client) throw new Error('a host has a certificate')
  const roots = root.split(/(?<=-----END CERTIFICATE-----\n)/).filter(pem => pem.trim() !== '')
  return openStream({ url, roots, client }, onFrame)
}

/** The certificate that a host gets for its key, asked for as its agent does. */
export async function hostCertificateOf({ connection, keys }: JoinedHost) {
  const { challenge } = await call(connection, api.login.challenge)
  const { sshSignature: signature } = proveBoth(keys, 'host-key', challenge)
  return call(connection, api.hostSelf.hostCertificate, { body: { publicKey: keys.ssh.line, challenge, signature } })
}

/** A body with its defaults, as the route's schema makes it from plain values. */
export function bodyOf<Query, Body, Answer>(route: Route<Query, Body, Answer>, value: unknown): Body {
  if (!route.body) throw new TypeError(`${route.path} takes no body`)
  return route.body.parse(value)
}

/** An answer as the route's schema says it is. */
export function answerOf<Query, Body, Answer>(route: Route<Query, Body, Answer>, { body }: { body: unknown }): Answer {
  if (!route.answer) throw new TypeError(`${route.path} answers nothing`)
  return route.answer.parse(body)
}
