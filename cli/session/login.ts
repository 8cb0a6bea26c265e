import { setTimeout as wait } from 'node:timers/promises'
import type { z } from 'zod'
import { api, type schemas } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { LoginKeyType } from '#shared/login-key-types.ts'
import type { Context } from '../context/context.ts'
import { type Connection, call, clockDifference, lasts } from '../server/client.ts'
import { pageOf } from '../server/page.ts'
import { openBrowser, screenOf, tunnelTo } from '../terminal/browser.ts'
import { shortClientKey, shortSshKey } from '../terminal/shown-keys.ts'
import { shown } from '../terminal/terminal.ts'
import { clockWords } from '../terminal/times.ts'
import { agentComment, type LoginKeys, makeLoginKeys, proveBoth } from './keys.ts'
import { listenLoopback, refusedInBrowser } from './loopback.ts'

export type LoginOptions = {
  readonly context: Context
  /** Seconds. */
  readonly lifetime: number
  readonly device: string
  readonly flow: 'loopback' | 'device'
  readonly openBrowser: boolean
  readonly keyType: LoginKeyType
  /** Says to the person what to do: the page, and in device login the code. */
  say(line: string): void
}

export type LoginAnswer = Extract<Awaited<ReturnType<typeof redeem>>, { state: 'done' }>['login']

/**
 * Signs this machine in: makes two keys, proves both, and waits until a passkey has confirmed exactly these. Gives the
 * keys with what the server answered. Throws `denied` on refusal, `expired` where nobody answered in time.
 */
export async function signIn(options: LoginOptions): Promise<{ keys: LoginKeys; answer: LoginAnswer }> {
  const connection: Connection = { url: options.context.machinesUrl, root: options.context.machinesRoot }
  const keys = makeLoginKeys(agentComment(options.context.organisation), options.keyType)
  const answer =
    options.flow === 'loopback'
      ? await byLoopback(options, connection, keys)
      : await byDevice(options, connection, keys)
  return { keys, answer }
}

async function start(options: LoginOptions, connection: Connection, keys: LoginKeys, flow: Parameters<typeof body>[2]) {
  const { challenge } = await call(connection, api.login.challenge)
  const started = await call(connection, api.login.start, {
    body: { ...body(options, keys, flow), proof: proveBoth(keys, 'login', challenge) },
  })
  const off = clockWords(clockDifference(connection))
  if (off) options.say(`This machine's clock is ${off}; set it right, or ssh may refuse what you get.`)
  options.say(
    `The page shows these keys: SSH ${shortSshKey(keys.ssh.publicKey)}  client ${shortClientKey(keys.client.spki)}`,
  )
  // By how long the server says it lasts: the two clocks need not agree.
  return { ...started, lasts: lasts(connection, started.endsAt) }
}

const body = (
  options: LoginOptions,
  keys: LoginKeys,
  flow: { kind: 'loopback'; redirectUri: string; codeChallenge: string; state: string } | { kind: 'device' },
) => ({
  flow,
  sshPublicKey: keys.ssh.line,
  clientPublicKey: toBase64(keys.client.spki),
  lifetime: options.lifetime,
  device: options.device,
})

const redeem = (connection: Connection, grant: z.infer<typeof schemas.loginToken>) =>
  call(connection, api.login.token, { body: grant, deadline: 10_000 })

async function byLoopback(options: LoginOptions, connection: Connection, keys: LoginKeys): Promise<LoginAnswer> {
  const loopback = await listenLoopback()
  try {
    const { redirectUri, codeChallenge, state } = loopback
    const started = await start(options, connection, keys, { kind: 'loopback', redirectUri, codeChallenge, state })
    const page = pageOf(options.context, started.page)
    const opened = options.openBrowser && (await openBrowser(page))
    options.say(
      opened
        ? `Touch your passkey in the browser. If no page opened: ${page}`
        : `Open this page and touch your passkey: ${page}`,
    )
    const code = await Promise.race([loopback.code, endOf(started.lasts)])
    const { transaction } = started
    const grant = { grant: 'code' as const, transaction, code, codeVerifier: loopback.codeVerifier }
    const end = performance.now() + CODE_LASTS_MS
    const waitMore = patiently(options)
    for (;;) {
      const answer = await redeem(connection, grant).catch((error: unknown) => waitMore(error, end))
      if (answer === undefined) continue
      if (answer.state === 'done') return answer.login
      throw refusedInBrowser()
    }
  } finally {
    loopback.close()
  }
}

async function byDevice(options: LoginOptions, connection: Connection, keys: LoginKeys): Promise<LoginAnswer> {
  const started = await start(options, connection, keys, { kind: 'device' })
  const { transaction, deviceCode, userCode } = started
  if (!deviceCode || !userCode) throw new KeymanError('internal', 'the server gave no code for a device login')
  const page = pageOf(options.context, started.page)
  const screen = screenOf()
  const opened = screen === 'there' && options.openBrowser && (await openBrowser(page))
  options.say(
    opened
      ? `Type the code  ${shown(userCode)}  in the browser. If no page opened: ${page}`
      : `Open ${page} in a browser and type the code  ${shown(userCode)}`,
  )
  const tunnel = screen === 'here' || opened ? undefined : tunnelTo(page)
  if (tunnel) options.say(`That page opens on this machine alone; from yours:  ${tunnel}`)
  let interval = started.interval
  const end = performance.now() + started.lasts
  const waitMore = patiently(options)
  while (performance.now() < end) {
    // RFC 8628 section 3.5: the server says how often it may be asked.
    await wait(Math.max(1, interval) * 1000)
    const answer = await redeem(connection, { grant: 'device', transaction, deviceCode }).catch((error: unknown) =>
      waitMore(error, end),
    )
    if (answer === undefined) continue
    if (answer.state === 'done') return answer.login
    if (answer.state === 'refused') throw refusedInBrowser()
    interval = answer.interval
  }
  throw nobodyAnswered()
}

/** How long the server takes a code of the loopback flow. */
const CODE_LASTS_MS = 60_000

/** Where the server does not say when to ask again: seconds. */
const ASK_AGAIN = 2

/**
 * A server that is not reached, or cannot sign just now since its keystore is away, uses up neither kind of code: waits a
 * little, with one remark for the whole login. Throws what it is given where that is anything else, or `end` comes first.
 */
function patiently({ say }: LoginOptions): (error: unknown, end: number) => Promise<undefined> {
  let said = false
  return async (error, end) => {
    if (!(error instanceof KeymanError) || error.code !== 'unavailable') throw error
    const pause = Math.max(1, error.retryAfter ?? ASK_AGAIN) * 1000
    if (performance.now() + pause >= end) throw error
    if (!said) say(`Not yet: ${shown(error.message)}. Asking again until it can (Ctrl-C ends this).`)
    said = true
    await wait(pause)
    return undefined
  }
}

const nobodyAnswered = () =>
  new KeymanError('expired', 'nobody confirmed the login in time', { hint: 'run keyman login again' })

async function endOf(lasts: number): Promise<never> {
  await wait(Math.max(0, lasts), undefined, { ref: false })
  throw nobodyAnswered()
}
