import { renameSync, writeFileSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import { insist } from '#server/store/index.ts'
import { isLogin, isPersonIdentity, type PersonIdentity, parsePersonIdentity } from '#shared/names.ts'
import { whatIsNext, whereItRuns } from './banner.ts'
import { compose, type Services } from './compose.ts'
import { defaultDataFolder, type ServerConfig } from './config/index.ts'
import { DEMO_HOST, type DemoHost, findSshd, startDemoHost } from './demo/index.ts'
import { listen } from './listen.ts'
import type { Log } from './log.ts'
import { listenForOperator, type Question } from './operator/operator.ts'
import { readPagesCertificate } from './pages-certificate.ts'

const REWRITE_AFTER_MS = 10_000

export type StartOptions = {
  readonly config: ServerConfig
  readonly log: Log
  readonly demo: boolean
  /** See `ComposeOptions`. */
  readonly checkpoint?: string | undefined
  /** For the person who started it: lines on stdout. */
  readonly say: (line: string) => void
}

export type Running = {
  readonly services: Services
  /** Reads the pages' certificate files anew. */
  reload(): void
  stop(): Promise<void>
}

/** Composes, listens, says where; with `demo` a host of its own on this machine. */
export async function start({ config, log, demo, checkpoint, say }: StartOptions): Promise<Running> {
  // Before anything is opened or made: it is the files that somebody just named.
  if (config.pages.tls) readPagesCertificate(config.pages.tls)
  /** Who was enrolled before there was a demo host. */
  let first: PersonIdentity | undefined
  const services = await compose({
    config,
    log,
    checkpoint,
    onEnrolled: async (built, person) => {
      if (!demo || !person.owner || !person.first) return
      if (built.hosts.find(DEMO_HOST)) await grantDemo(built, person.identity)
      else first = person.identity
    },
  })
  const ends: (() => Promise<unknown>)[] = [() => services.close()]
  const stop = async () => {
    for (const end of ends.reverse()) await end().catch(error => log.error('could not be ended in order', error))
  }
  let reload = () => {}
  try {
    // First and last of what this server's life leaves in the log: nobody is let in before, nobody is inside after.
    await services.ledger.append({ requestId: services.requestId(), kind: 'server-started', actor: { kind: 'server' } })
    ends.push(() =>
      services.ledger.append({ requestId: services.requestId(), kind: 'server-stopped', actor: { kind: 'server' } }),
    )
    const listening = await listen(services, log)
    ends.push(() => listening.close())
    reload = () => listening.reload()
    ends.push(
      await listenForOperator(config.dataFolder, asked =>
        asked.ask === 'admin-link' ? adminLink(services, log, asked) : switchToStandby(services, log, asked.confirmed),
      ),
    )
    const remarks = [...services.keystore.capabilities.cannot, ...services.remarks]
    writeLocal(services, remarks)
    // The root may move while the server runs, on a disk that is full at that moment, say; another server may have moved it.
    const rewriting = insist(
      async () => writeLocal(services, remarks),
      error => log.error('what keyman on this machine reads could not be written; it is tried again', error),
      REWRITE_AFTER_MS,
    )
    const stopHearing = services.trust.onChange(rewriting.run)
    ends.push(
      async () => rewriting.stop(),
      async () => stopHearing(),
    )
    // Whoever tries it out hears them from `keyman doctor`, beside what else there is to know.
    if (!demo) for (const remark of remarks) log.info(remark)

    // Whoever tries it out is asked for no name. Otherwise the server's user is nobody's name, and names stay.
    const link = await services.identity.enrolment.firstOwnerLink(demo ? ownIdentity() : '')
    for (const line of whereItRuns({ config, link, hasScreen: hasScreen() })) say(line)
    const host = demo ? await startDemo(services, log, say) : undefined
    if (host) ends.push(() => host.stop())
    if (host && first !== undefined) await grantDemo(services, first)
    const isFound = config.dataFolder === defaultDataFolder({ env: process.env, home: process.env.HOME || homedir() })
    say(whatIsNext(config, services.trust.rootFingerprint(), { isFound, demo: demo && { host: host?.name } }))
  } catch (error) {
    await stop()
    throw error
  }
  return { services, reload, stop }
}

async function startDemo(services: Services, log: Log, say: (line: string) => void): Promise<DemoHost | undefined> {
  const folder = join(services.config.dataFolder, 'demo')
  try {
    const sshd = await findSshd(folder, say)
    const host =
      'missing' in sshd
        ? sshd
        : await startDemoHost({ folder, sshd, hosts: services.hosts, requestId: services.requestId, say })
    if ('missing' in host) {
      say(`  Demo host:  none (${host.missing})`)
      return undefined
    }
    say(`  Demo host:  demo   (its own sshd on 127.0.0.1 port ${host.port}, kept by a real keyman-agent)`)
    return host
  } catch (error) {
    // Everything but the demo host goes on.
    log.error('the demo host did not start', error)
    say('  Demo host:  none (see the error above)')
    return undefined
  }
}

/** The first owner of `npm start` may log in to the demo host as the user who started it. */
async function grantDemo(services: Services, who: PersonIdentity): Promise<void> {
  const login = userInfo().username
  if (!isLogin(login)) return
  await services.access.addGrant(
    {
      kind: 'login',
      who,
      login,
      hosts: { host: DEMO_HOST },
      maxLifetime: 8 * 3600,
      options: { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false },
    },
    { actor: { kind: 'server' }, requestId: services.requestId() },
  )
}

async function adminLink(
  services: Services,
  log: Log,
  { identity, isNew }: Extract<Question, { ask: 'admin-link' }>,
): Promise<unknown> {
  const who = identity === undefined ? undefined : parsePersonIdentity(identity, 'identity')
  const by = { actor: { kind: 'operator' } as const, requestId: services.requestId() }
  const { link, endsAt, was } = await services.identity.enrolment.createAdminLink(who, { isNew }, by, async t =>
    who === undefined ? [] : (await services.authority.revokeAllIn(t, who, by)).entries,
  )
  await services.access.reload()
  // Rare, and mighty: whoever watches the log is to see it (invariant 9), recorded or not.
  log.error(`ALARM: at this machine's command line a link was made that makes ${who ?? 'somebody'} an owner`)
  const gives = who === undefined || isNew ? `a new owner, ${who ?? 'of any name'}` : resets(who, was)
  return { link, endsAt: endsAt.toISOString(), gives }
}

async function switchToStandby(
  { authority, trust, requestId }: Services,
  log: Log,
  confirmed: readonly string[] | undefined,
): Promise<unknown> {
  if (!confirmed) return { switched: await authority.standby(), isPublished: true }
  const by = { actor: { kind: 'operator' } as const, requestId: requestId() }
  const switched = await authority.switchToStandby(by, confirmed)
  log.error(
    `ALARM: at this machine's command line the standby keys were made the ones that sign: ${switched.map(({ to }) => to).join(', ')}`,
  )
  const isPublished = await trust.publishHeld().catch((error: unknown) => {
    log.error('the trust bundle that names the switch could not be published', error)
    return false
  })
  return { switched, isPublished }
}

function resets(who: string, was: { owner: boolean; state: string; passkeys: number } | undefined): string {
  const known = was ? `${was.owner ? 'an owner' : 'no owner'}, ${was.state}` : 'here already'
  return `a new passkey of ${who}, who was ${known}, and then is an active owner; all sessions and certificates of ${who} have ended, the passkeys of before stay`
}

/** For the CLI on this very machine: whom it may trust without being told. No secret. */
function writeLocal({ config, trust }: Services, remarks: readonly string[]): void {
  const file = join(config.dataFolder, 'local.json')
  const local = {
    machinesUrl: config.machines.url,
    publicUrl: config.publicUrl,
    rootFingerprint: trust.rootFingerprint(),
    remarks,
  }
  writeFileSync(`${file}.tmp`, `${JSON.stringify(local)}\n`, { mode: 0o600 })
  renameSync(`${file}.tmp`, file)
}

function ownIdentity(): string {
  const identity = `${userInfo().username}@localhost`
  return isPersonIdentity(identity) ? identity : 'admin@localhost'
}

const hasScreen = (): boolean =>
  process.platform !== 'linux' || Boolean(process.env.DISPLAY || process.env.WAYLAND_DISPLAY)
