import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { makeLoginKeys, proveBoth } from '#cli/session/keys.ts'
import { concernsPowers } from '#server/access/facts.ts'
import { compose, type Services } from '#server/compose.ts'
import { loadConfig } from '#server/config/index.ts'
import type { Handled, RawRequest } from '#server/http/handle.ts'
import type { ActingCaller, BrowserCaller, PersonCaller, Role, WorkloadCaller } from '#server/identity/index.ts'
import { allHandled } from '#server/listen.ts'
import { createLog } from '#server/log.ts'
import { api, type Route } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseWorkloadToken } from '#shared/join-token.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { fastFolder } from '../fast-folder.ts'
import { freePort } from '../free-port.ts'
import { Authenticator } from '../people/authenticator.ts'
import { newPGlite } from '../programs/templates.ts'

export type Input = { params?: Record<string, string>; body?: unknown }

/** A whole server without its listeners, so that many requests can be in its transactions at the same time. */
export type StandingWorld = {
  readonly services: Services
  /** One request after the edge has let it in. */
  serve(route: Route, caller: ActingCaller, input?: Input): Promise<unknown>
  /** The same, as the code of its refusal, or `done`. */
  outcome(route: Route, caller: ActingCaller, input?: Input): Promise<string>
  enrol(identity: string, owner?: boolean): Promise<Authenticator>
  signIn(authenticator: Authenticator): Promise<BrowserCaller>
  /** Makes a workload, and begins its session. */
  joinWorkload(name: string, by: PersonCaller): Promise<WorkloadCaller>
  /** The next trust bundle, signed by the root key of this server. */
  nextBundle(): Promise<{ document: string; signatures: string[] }>
  at(): { requestId: string; from: string }
  close(): Promise<void>
}

export async function openStandingWorld(env: Readonly<Record<string, string>> = {}): Promise<StandingWorld> {
  const folder = fastFolder('keyman-standing-')
  const port = await freePort()
  const config = loadConfig({
    env: {
      KEYMAN_DATA_FOLDER: join(folder, 'data'),
      KEYMAN_ORGANISATION: 'acme',
      KEYMAN_MACHINES_LISTEN: `127.0.0.1:${port}`,
      KEYMAN_MACHINES_URL: `https://localhost:${port}`,
      KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000000',
      ...env,
    },
    home: folder,
  })
  if (config.database.engine === 'pglite') await newPGlite(config.database.folder)
  const services = await compose({ config, log: createLog({ write: () => undefined }) })
  const { enrolment, signIns } = services.identity
  const keyOf = ({ method, path }: Route) => `${method} ${path}`
  const handled = new Map<string, Handled>(allHandled(services).map(each => [keyOf(each.route), each]))
  const at = () => ({ requestId: services.requestId(), from: '192.0.2.7' })

  async function serve(route: Route, caller: ActingCaller, { params = {}, body }: Input = {}): Promise<unknown> {
    const raw: RawRequest = {
      caller,
      params,
      query: route.query ? {} : undefined,
      body,
      cookie: undefined,
      setCookie: () => undefined,
      ...at(),
    }
    const prepared = handled.get(keyOf(route))?.prepare(raw)
    const takes = prepared?.takes() ?? []
    // As it was decided when the caller came, however long ago.
    const { kind } = caller
    const actor = kind === 'person' ? { kind, identity: caller.identity } : { kind, identity: caller.principal }
    const by = { actor, ...at() }
    const role: Role = {
      epochs: caller.epochs,
      concerns: concernsPowers,
      holds: () => takes.every(want => services.access.may(caller, want)),
      again: () => services.access.requireRole(caller, () => takes, by),
    }
    return prepared?.run(takes.length === 0 ? {} : { role })
  }

  return {
    services,
    serve,
    at,
    outcome: (route, caller, input) =>
      serve(route, caller, input).then(
        () => 'done',
        (error: unknown) => (error instanceof KeymanError ? error.code : String(error)),
      ),
    async enrol(name, owner = false) {
      const identity = parsePersonIdentity(name, 'test')
      const by = { actor: { kind: 'operator' } as const, ...at() }
      const { link } = await enrolment.invite({ identity, owner, lifetime: 3600 }, by)
      const secret = new URL(link).hash.slice(1)
      const authenticator = new Authenticator(config.publicUrl)
      const registration = authenticator.create(await enrolment.options(secret, identity))
      await enrolment.complete({ secret, identity, passkeyName: 'first', registration }, at())
      await services.access.reload()
      return authenticator
    },
    async signIn(authenticator) {
      const assertion = authenticator.get(await signIns.options())
      return (await signIns.complete(assertion, at(), undefined)).caller
    },
    async joinWorkload(name, by) {
      const { token } = addedToken.parse(await serve(api.workloads.add, by, { body: { name } }))
      const keys = makeLoginKeys('test')
      const challenge = services.identity.proofs.challenge()
      const request = {
        token: parseWorkloadToken(token).secret,
        clientPublicKey: toBase64(keys.client.spki),
        sshPublicKey: keys.ssh.line,
        proof: proveBoth(keys, 'workload', challenge),
      }
      return (await services.workloads.join(request, at())).caller
    },
    async nextBundle() {
      const document = await services.trust.next()
      const file = join(folder, `document-${randomBytes(4).toString('hex')}`)
      writeFileSync(file, document)
      execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'keyman-trust', '-f', services.trust.rootKeyFile, file])
      return { document, signatures: [readFileSync(`${file}.sig`, 'utf8').trim()] }
    },
    async close() {
      await services.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const addedToken = z.looseObject({ token: z.string() })

export type Round = {
  readonly n: number
  readonly root: PersonCaller
  readonly caller: BrowserCaller
}

/** What each route that changes something needs, so that it succeeds for a caller who may; by the route's ID. */
export function changes(world: StandingWorld): Record<string, (round: Round) => Promise<Input>> {
  const { identity } = world.services
  const victim = 'victim@example.com'
  const passkeyOf = async ({ caller }: Round) => (await identity.passkeys.list(caller.identity)).at(-1)?.id ?? ''
  /** Of another authenticator: that of the round signs in by its first passkey for good. */
  const another = async (name: string, { caller }: Round) => {
    const registration = new Authenticator(world.services.config.publicUrl).create(
      await identity.passkeys.addOptions(caller),
    )
    return { body: { name, registration } }
  }
  const byRoot = (route: Route, input: Input) => (round: Round) => world.serve(route, round.root, input)
  const disableVictim = byRoot(api.persons.disable, { params: { identity: victim } })
  const enableVictim = byRoot(api.persons.enable, { params: { identity: victim } })
  const grant = (n: number) => ({ who: victim, login: `deploy${n}`, hosts: { labels: { env: 'prod' } } })
  const newRole = (n: number) => ({ name: `role${n}`, of: 'organisation', actions: ['host.read'] })
  const name = (n: number) => `web${n}.keyman.localhost`
  const roomFor = async (round: Round) => {
    await byRoot(api.projects.add, { body: { name: `q${round.n}` } })(round)
    return `q${round.n}/job`
  }
  const workload = async (round: Round) => {
    const name = await roomFor(round)
    await byRoot(api.workloads.add, { body: { name } })(round)
    return name
  }
  return {
    'persons.invite': async ({ n }) => ({ body: { identity: `new${n}@example.com`, owner: true } }),
    'persons.uninvite': async ({ n, root }) => {
      await world.serve(api.persons.invite, root, { body: { identity: `late${n}@example.com` } })
      const links = await identity.enrolment.openLinks()
      return { params: { id: links.find(link => link.identity === `late${n}@example.com`)?.id ?? '' } }
    },
    'persons.disable': async round => {
      await enableVictim(round)
      return { params: { identity: victim } }
    },
    'persons.enable': async round => {
      await disableVictim(round)
      return { params: { identity: victim } }
    },
    'persons.change': async round => {
      await byRoot(api.persons.change, { params: { identity: victim }, body: { owner: true } })(round)
      return { params: { identity: victim }, body: { owner: false } }
    },
    'persons.reset': async round => {
      await enableVictim(round)
      return { params: { identity: victim }, body: {} }
    },
    'teams.addMembers': async ({ n }) => ({ params: { name: `team${n}` }, body: { persons: [victim] } }),
    'teams.removeMembers': async round => {
      const member = { params: { name: 'sre' }, body: { persons: [victim] } }
      await byRoot(api.teams.addMembers, member)(round)
      return member
    },
    'grants.add': async ({ n }) => ({ body: grant(n) }),
    'grants.change': async round => {
      await byRoot(api.grants.add, { body: grant(round.n) })(round)
      const id = (await world.services.access.listGrants()).at(-1)?.id ?? ''
      return { params: { id }, body: { maxLifetime: 600 + round.n } }
    },
    'grants.remove': async round => {
      await byRoot(api.grants.add, { body: grant(round.n) })(round)
      return { params: { id: (await world.services.access.listGrants()).at(-1)?.id ?? '' } }
    },
    'roles.add': async ({ n }) => ({ body: newRole(n) }),
    'roles.change': async round => {
      await byRoot(api.roles.add, { body: newRole(round.n) })(round)
      return { params: { name: `role${round.n}` }, body: { add: ['host.add'] } }
    },
    'roles.remove': async round => {
      await byRoot(api.roles.add, { body: newRole(round.n) })(round)
      return { params: { name: `role${round.n}` } }
    },
    'projects.add': async ({ n }) => ({ body: { name: `p${n}` } }),
    'projects.remove': async round => {
      await byRoot(api.projects.add, { body: { name: `p${round.n}` } })(round)
      return { params: { project: `p${round.n}` } }
    },
    'projects.removeEnvironment': async round => {
      await byRoot(api.projects.add, { body: { name: `p${round.n}`, environments: ['prod'] } })(round)
      return { params: { project: `p${round.n}`, environment: 'prod' } }
    },
    'revocations.create': async () => ({ body: { target: { person: victim }, wait: 0 } }),
    'revocations.own': async () => ({}),
    'hosts.add': async ({ n }) => ({ body: { name: name(n) } }),
    'hosts.change': async round => {
      await byRoot(api.hosts.add, { body: { name: name(round.n) } })(round)
      return { params: { name: name(round.n) }, body: { labels: { env: 'test' } } }
    },
    'hosts.remove': async round => {
      await byRoot(api.hosts.add, { body: { name: name(round.n) } })(round)
      return { params: { name: name(round.n) } }
    },
    'workloads.add': async round => ({ body: { name: await roomFor(round) } }),
    'workloads.change': async round => ({ params: { name: await workload(round) }, body: { idle: 600 } }),
    'workloads.token': async round => ({ params: { name: await workload(round) }, body: {} }),
    'workloads.end': async round => ({ params: { name: await workload(round) } }),
    'workloads.remove': async round => ({ params: { name: await workload(round) } }),
    'mandates.begin': async () => ({ body: { lifetime: 600 } }),
    'mandates.end': async round => {
      await world.serve(api.mandates.begin, round.caller, { body: { lifetime: 600 } })
      return {}
    },
    'trust.publish': async () => ({ body: await world.nextBundle() }),
    'session.end': async () => ({}),
    'sessions.end': async ({ caller }) => ({ params: { id: caller.session } }),
    'passkeys.add': async round => {
      const own = await identity.passkeys.list(round.caller.identity)
      if (own.length > 2) await world.serve(api.passkeys.remove, round.caller, { params: { id: own.at(-1)?.id ?? '' } })
      return another('another', round)
    },
    'passkeys.rename': async round => ({ params: { id: await passkeyOf(round) }, body: { name: `name ${round.n}` } }),
    'passkeys.remove': async round => {
      await world.serve(api.passkeys.add, round.caller, await another('spare', round))
      return { params: { id: await passkeyOf(round) } }
    },
  }
}
