import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { api, type hostStream } from '#shared/api/index.ts'
import { shownAtMost } from '#shared/text.ts'
import { told } from '#shared/told.ts'
import { type Connection, call } from '../server/call.ts'
import { loadIdentity, renewalIsDue, saveCertificate } from '../server/client-identity.ts'
import { openStream, type Stream } from '../server/stream.ts'
import { heldBundle, machineRoots } from '../server/trust.ts'
import { authorities } from '../server/verify-state.ts'
import { sshdVersion } from '../sshd/sshd.ts'
import { loadMemory } from '../state/memory.ts'
import { AGENT_VERSION } from '../version.ts'
import { warnOfClock } from './clock.ts'
import { reportGivenUp } from './given-up.ts'
import type { Agent } from './handle-frame.ts'
import { renewHostCertificates } from './host-certificates.ts'
import { type Keeper, revisionInForce } from './keeper.ts'
import { filesAreAsLeft, remember, settle } from './settle.ts'

const TICK_MS = 60_000
/** Between two questions to sshd itself whether it still uses our files. */
const ASK_SSHD_MS = 3_600_000

/** How one connection to the server went. */
export type Outcome = {
  /** At least one desired state was in force, or was so already. */
  readonly settled: boolean
  readonly why: string
}

/** The connection by the newest trust bundle and client certificate. */
export function connectionOf(agent: Agent): { connection: Connection; agentIdentity: ReturnType<typeof loadIdentity> } {
  const agentIdentity = loadIdentity(agent.stateFolder)
  const bundle = heldBundle(loadMemory(agent.stateFolder).bundle)
  const client = { key: agentIdentity.pem, certificate: agentIdentity.certificate }
  return { connection: { url: agent.config.url, roots: machineRoots(bundle), client }, agentIdentity }
}

/** Renews what has passed two thirds of its time. Says whether the client certificate is a new one. */
export async function renewCertificates(agent: Agent, now: () => Date): Promise<boolean> {
  const { config, stateFolder, log } = agent
  let { connection, agentIdentity } = connectionOf(agent)
  const renewed = renewalIsDue(agentIdentity, now()) && (await renewClientCertificate(agent, now))
  if (renewed) ({ connection, agentIdentity } = connectionOf(agent))
  const bundle = heldBundle(loadMemory(stateFolder).bundle)
  const hostAuthorities = authorities(bundle.ssh.hostAuthorities)
  const { aliases } = agent.asked
  const place = { config, client: agentIdentity, connection, hostAuthorities, log, now, aliases }
  if (await renewHostCertificates(place)) {
    // sshd reads host certificates when it starts.
    remember(stateFolder, { reloadPending: true })
    await settle(agent, agent.asked)
  }
  return renewed
}

/**
 * Where it can't be had now, the one that is there goes on to its end: a host that came back only with a new one would hear of no revocation
 * while the server signs nothing.
 */
async function renewClientCertificate(agent: Agent, now: () => Date): Promise<boolean> {
  const { config, stateFolder, log } = agent
  const { connection, agentIdentity } = connectionOf(agent)
  try {
    const answer = await call(connection, api.hostSelf.renewClientCertificate, {})
    saveCertificate(stateFolder, answer.certificate, { ...config, spki: agentIdentity.spki })
    log.info(`client certificate renewed, good until ${answer.endsAt}`)
    return true
  } catch (error) {
    if (agentIdentity.notAfter <= now()) throw error
    log.warn(
      `the client certificate ends at ${agentIdentity.notAfter.toISOString()} and was not renewed: ${told(error).message}`,
    )
    return false
  }
}

/**
 * One connection, from hello to its end. With `once` it ends as soon as a state is in force. What fails on this machine is told to the
 * server and tried again; where the server is not believed, or cannot be asked, that is told and ends the connection.
 */
export async function runSession(
  keeper: Keeper,
  options: {
    readonly signal: AbortSignal
    readonly once: boolean
    readonly now: () => Date
    /** Between two looks at the clock. */
    readonly tickMs?: number
  },
): Promise<Outcome> {
  const { agent } = keeper
  const { stateFolder, log } = agent
  const hello = await keeper.inTurn(async () => {
    // What was changed while nobody looked is put right whether the server can be asked or not.
    await keeper.look()
    await renewCertificates(agent, options.now)
    // Made before the stream is opened: what throws here leaves none open behind it.
    return makeHello(agent, options.now)
  })
  const { connection } = connectionOf(agent)
  let settled = false
  let why: string | undefined
  // In the turn of all that touches sshd's files: frames, renewals and looks.
  const inTurn = (stream: Stream, revision: number | undefined, task: () => Promise<void>) =>
    keeper.inTurn(async () => {
      if (why !== undefined) return
      try {
        await task()
      } catch (error) {
        why = told(error).message
        // Gone with `keyman-agent leave`: that is no failure to tell anybody.
        if (existsSync(stateFolder)) {
          log.error(why)
          const message = shownAtMost(why, 500)
          stream.send({ type: 'failed', revision: revision ?? revisionInForce(stateFolder), message })
        }
        stream.close()
      }
    })
  const early: hostStream.FrameToAgent[] = []
  let take = (frame: hostStream.FrameToAgent): void => void early.push(frame)
  const stream = await openStream(connection, frame => take(frame))
  const stop = () => stream.close()
  options.signal.addEventListener('abort', stop, { once: true })
  // A signal that came while we were connecting tells no listener any more.
  if (options.signal.aborted) stop()
  const silence = keeper.onWord((word, needsAll) => {
    stream.send(word)
    if (needsAll) stream.close()
  })
  // What is in force is so without new certificates, and the clock asks for them again.
  const renewOrWarn = async () => {
    try {
      if (await renewCertificates(agent, options.now)) stream.close()
    } catch (error) {
      log.warn(`no new certificates yet: ${told(error).message}`)
    }
  }
  take = frame => {
    if (frame.type === 'names') {
      agent.asked.aliases = frame.aliases
      return void inTurn(stream, undefined, renewOrWarn)
    }
    void inTurn(stream, frame.type === 'state' ? frame.state.revision : undefined, async () => {
      const word = await keeper.take(frame, { whole: options.once })
      if (!word) return
      if (word.type === 'in-force') settled = true
      else if (options.once) why = word.message
      stream.send(word)
      if (word.type === 'in-force') await reportGivenUp(stateFolder, connection, log).catch(tellOf(log))
      // It may have revoked those of this host.
      if (frame.type === 'state') await renewOrWarn()
      if (options.once) stream.close()
    })
  }
  for (const frame of early) take(frame)
  stream.send(hello)
  const clock = warnOfClock(agent, connection, options.now)
  const ticking = new AbortController()
  void tick(keeper, stream, ticking.signal, options, task => void inTurn(stream, undefined, task))
  const ended = await stream.ended
  silence()
  options.signal.removeEventListener('abort', stop)
  ticking.abort()
  await keeper.inTurn(async () => undefined)
  await clock
  return { settled, why: why ?? ended }
}

/** It is tried again with the next state, or at the next connection. */
const tellOf = (log: Agent['log']) => (error: unknown) =>
  log.warn(`what was revoked before the server was restored could not be reported: ${told(error).message}`)

async function makeHello(
  { config, stateFolder, log, logins }: Agent,
  now: () => Date,
): Promise<hostStream.FrameToServer> {
  const memory = loadMemory(stateFolder)
  const unchanged = filesAreAsLeft(config, memory)
  if (!unchanged && memory.revision > 0)
    log.warn("sshd's files are not as this agent left them: asking for all of them again")
  return {
    type: 'hello',
    // Revision 0 asks for the whole state. It is never 'older' to us: what comes is held against our own memory.
    revision: unchanged ? memory.revision : 0,
    incarnation: memory.incarnation,
    ...(memory.checkpoint === undefined ? {} : { checkpoint: memory.checkpoint }),
    at: now().toISOString(),
    agent: AGENT_VERSION,
    sshd: (await sshdVersion(config.sshd)).slice(0, 80),
    names: true,
    ...(logins ? { logins: true } : {}),
  }
}

/** By the clock: renewals, what others have changed, and once an hour the question to sshd whatever seems to be so. */
async function tick(
  keeper: Keeper,
  stream: Stream,
  signal: AbortSignal,
  { now, tickMs = TICK_MS }: { readonly now: () => Date; readonly tickMs?: number },
  inTurn: (task: () => Promise<void>) => void,
) {
  let asked = now().getTime()
  for (;;) {
    try {
      await delay(tickMs, undefined, { signal, ref: false })
    } catch {
      return
    }
    inTurn(async () => {
      if (await renewCertificates(keeper.agent, now)) stream.close() // comes back with the new certificate
      const always = now().getTime() - asked >= ASK_SSHD_MS
      if (always) asked = now().getTime()
      await keeper.look({ always })
      void keeper.lookAround({ always })
    })
  }
}
