import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { BrowserCaller } from '#server/identity/index.ts'
import { allRoutes, api, type Route } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { requires } from '#test/support/requires.ts'
import { changes, openStandingWorld, type StandingWorld } from '#test/support/worlds/standing-world.ts'

/** Somebody who is being disabled, or whose passkey is being removed, and what is on its way in that person's name. */

/** Nothing that lives on: a document that is only made, a challenge that only the session can use. */
const CHANGE_NOTHING = ['trust.next', 'passkeys.addOptions']
/** By the ledger's one statement, which compares the epochs itself: raced in `ca-server/authority/revoke.test.ts`. */
const CERTIFICATES = ['ssh.issueUserCertificate', 'session.renewClientCertificate']
const CHANGING = allRoutes.filter(
  ({ id, method, caller }) =>
    method !== 'GET' && ['person', 'browser'].includes(caller) && ![...CHANGE_NOTHING, ...CERTIFICATES].includes(id),
)

function standing(open: () => Promise<{ world: StandingWorld; close: () => Promise<void> }>, rounds: number) {
  let world: StandingWorld
  let close: () => Promise<void>
  let root: { authenticator: Authenticator; caller: BrowserCaller }
  let mal: Authenticator
  beforeAll(async () => {
    ;({ world, close } = await open())
    const authenticator = await world.enrol('root@example.com', true)
    mal = await world.enrol('mal@example.com', true)
    await world.enrol('victim@example.com')
    root = { authenticator, caller: await world.signIn(authenticator) }
  })
  afterAll(() => close())

  const turns = async (count: number) => {
    for (; count > 0; count--)
      await (count % 2 ? new Promise(resolve => setImmediate(resolve)) : world.services.store.ping())
  }
  const person = (identity: string) => ({ params: { identity } })
  const recordsSince = async (from: bigint) =>
    (await world.services.ledger.list({ from, limit: 1000 })).map(({ index, kind, actor, record }) => ({
      index,
      kind,
      actor,
      target: String(JSON.parse(record).target),
    }))
  const size = async () => ((await world.services.ledger.list({ limit: 1 })).at(-1)?.index ?? -1n) + 1n

  it('leaves no change by somebody whose disabling was committed before, by whatever route, and nobody waits in a circle', async () => {
    const inputs = changes(world)
    expect(CHANGING.map(({ id }) => id).filter(id => !inputs[id])).toEqual([])
    const told = { done: 0, refused: 0 }
    for (let n = 0; n < rounds; n++) {
      const route = CHANGING[n % CHANGING.length]
      const input = route && inputs[route.id]
      if (!input) throw new Error('no route')
      await world.serve(api.persons.enable, root.caller, person('mal@example.com'))
      const caller = await world.signIn(mal)
      const prepared = await input({ n, root: root.caller, caller })
      const from = await size()
      const turn = Math.floor(n / CHANGING.length) % 12
      const [outcome, disabled] = await Promise.all([
        turns(turn < 6 ? turn : 0).then(() => world.outcome(route, caller, prepared)),
        turns(turn < 6 ? 0 : turn - 5).then(() =>
          world.outcome(api.persons.disable, root.caller, person('mal@example.com')),
        ),
      ])
      expect([route.id, disabled]).toEqual([route.id, 'done'])
      expect([route.id, outcome]).toEqual([route.id, expect.stringMatching(/^(done|not-signed-in)$/)])
      told[outcome === 'done' ? 'done' : 'refused']++
      const records = await recordsSince(from)
      const end = records.find(({ kind, target }) => kind === 'person-disabled' && target === 'mal@example.com')
      const after = records.filter(({ actor, index }) => actor === 'mal@example.com' && index > (end?.index ?? -1n))
      expect(after, route.id).toEqual([])
      const left = (await world.services.identity.enrolment.openLinks()).filter(
        link => link.createdBy === 'mal@example.com',
      )
      expect(left).toEqual([])
    }
    // Both occurred often, or nothing was raced.
    expect(Math.min(told.done, told.refused), JSON.stringify(told)).toBeGreaterThan(rounds / 20)
  }, 900_000)

  it('makes nobody a person by a link whose maker lost the role before: neither by an invitation nor by a reset', async () => {
    const told = { done: 0, refused: 0 }
    const { enrolment } = world.services.identity
    for (let n = 0; n < rounds / 10; n++) {
      const maker = `maker${n}@example.com`
      const caller = await world.signIn(await world.enrol(maker))
      await world.serve(api.grants.add, root.caller, { body: { kind: 'role', who: maker, role: 'administrator' } })
      const id = (await world.services.access.listGrants()).at(-1)?.id ?? ''
      const identity = parsePersonIdentity(`made${n}@example.com`, 'test')
      if (n % 3 === 2) await world.enrol(identity)
      const sent =
        n % 3 === 2
          ? await world.serve(api.persons.reset, caller, { params: { identity }, body: {} })
          : await world.serve(api.persons.invite, caller, { body: { identity } })
      const secret = new URL(z.looseObject({ link: z.string() }).parse(sent).link).hash.slice(1)
      const registration = new Authenticator(world.services.config.publicUrl).create(
        await enrolment.options(secret, identity),
      )
      const from = await size()
      const turn = (Math.floor(n / 2) * 5) % 12
      const used = () =>
        enrolment.complete({ secret, identity, passkeyName: 'x', registration }, world.at()).then(
          () => 'done',
          (error: unknown) => (error instanceof KeymanError ? error.code : String(error)),
        )
      const [outcome, removed] = await Promise.all([
        turns(turn < 6 ? turn : 0).then(used),
        turns(turn < 6 ? 0 : (turn - 5) * 8).then(() =>
          world.outcome(api.grants.remove, root.caller, { params: { id } }),
        ),
      ])
      expect(removed).toBe('done')
      expect(['done', 'expired']).toContain(outcome)
      told[outcome === 'done' ? 'done' : 'refused']++
      const records = await recordsSince(from)
      const at = records.find(({ kind }) => kind === 'grant-removed')?.index ?? -1n
      expect(records.filter(({ kind, index }) => kind === 'enrolled' && index > at)).toEqual([])
    }
    expect(Math.min(told.done, told.refused), JSON.stringify(told)).toBeGreaterThan(0)
  }, 300_000)

  it('leaves no change by a workload whose session, or whose role, was ended before', async () => {
    await world.serve(api.projects.add, root.caller, { body: { name: 'load' } })
    const told = { done: 0, refused: 0 }
    for (let n = 0; n < rounds / 10; n++) {
      const workload = `load/w${n}`
      const joined = await world.joinWorkload(workload, root.caller)
      const role = { kind: 'role', who: `workload:${workload}`, role: 'editor', in: 'load' }
      await world.serve(api.grants.add, root.caller, { body: role })
      const id = (await world.services.access.listGrants()).at(-1)?.id ?? ''
      const caller = await world.services.identity.reload(joined)
      const from = await size()
      const end = () =>
        n % 2
          ? world.outcome(api.workloads.end, root.caller, { params: { name: workload } })
          : world.outcome(api.grants.remove, root.caller, { params: { id } })
      const turn = (Math.floor(n / 2) * 5) % 12
      const body = { name: `load${n}.keyman.localhost`, in: 'load' }
      const [ended, outcome] = await Promise.all([
        turns(turn < 6 ? 0 : turn - 5).then(end),
        turns(turn < 6 ? turn : 0).then(() => world.outcome(api.hosts.add, caller, { body })),
      ])
      expect(ended).toBe('done')
      expect(['done', 'not-signed-in', 'denied']).toContain(outcome)
      told[outcome === 'done' ? 'done' : 'refused']++
      const records = await recordsSince(from)
      const at = records.find(({ kind }) => kind === 'revoked' || kind === 'grant-removed')?.index ?? -1n
      const own = records.filter(({ kind, actor }) => kind === 'host-added' && actor === `workload:${workload}`)
      expect(own.filter(({ index }) => index > at)).toEqual([])
      expect(own.length).toBe(outcome === 'done' ? 1 : 0)
    }
    expect(Math.min(told.done, told.refused), JSON.stringify(told)).toBeGreaterThan(0)
  }, 300_000)

  it('two owners who disable each other, and each herself: one of the two is disabled, and nobody waits in a circle', async () => {
    // Whoever was to take it back may have been disabled before.
    await world.serve(api.persons.change, root.caller, {
      ...person('victim@example.com'),
      body: { owner: false },
    })
    await world.serve(api.persons.enable, root.caller, person('mal@example.com'))
    const names = ['root@example.com', 'mal@example.com']
    for (let n = 0; n < rounds / 10; n++) {
      const callers = [root.caller, await world.signIn(mal)]
      const other = (mine: number) => person(names[n % 3 === 2 ? mine : 1 - mine] ?? '')
      const outcomes = await Promise.all(
        callers.map((caller, mine) =>
          turns(mine === n % 2 ? n % 5 : 0).then(() => world.outcome(api.persons.disable, caller, other(mine))),
        ),
      )
      // Each other: the second has no session any more, or no role, whichever is looked at first. Each herself: the second would be the last.
      const refusals = n % 3 === 2 ? ['conflict'] : ['not-signed-in', 'denied']
      expect(outcomes.filter(outcome => outcome === 'done').length).toBe(1)
      expect(refusals).toContain(outcomes.find(outcome => outcome !== 'done'))
      const operator = { actor: { kind: 'operator' } as const, ...world.at() }
      for (const name of names)
        await world.services.identity.persons.enable(name as BrowserCaller['identity'], { ...operator, ...world.at() })
      root = { ...root, caller: await world.signIn(root.authenticator) }
    }
  }, 300_000)

  it('a person who changes and ends her own at the same time waits for nobody in a circle', async () => {
    await world.serve(api.persons.enable, root.caller, person('mal@example.com'))
    for (let n = 0; n < rounds / 10; n++) {
      const caller = await world.signIn(mal)
      const grant = { who: 'mal@example.com', login: 'deploy', hosts: { labels: { env: 'prod' } } }
      const outcomes = await Promise.all([
        world.outcome(api.grants.add, caller, { body: grant }),
        turns(n % 4).then(() => world.outcome(api.revocations.own, caller)),
        world.outcome(api.teams.addMembers, caller, {
          params: { name: 'sre' },
          body: { persons: ['mal@example.com'] },
        }),
        turns(n % 3).then(() => world.outcome(api.session.end, caller)),
      ])
      for (const outcome of outcomes) expect(['done', 'not-signed-in', 'conflict']).toContain(outcome)
    }
  }, 300_000)

  it('leaves no change by a role whose end was committed before: by its own grant, its team, what the team has, or what the role may', async () => {
    const adam = await world.enrol('adam@example.com')
    const add = async (body: unknown) => {
      await world.serve(api.grants.add, root.caller, { body })
      return (await world.services.access.listGrants()).at(-1)?.id ?? ''
    }
    const role = (who: string) => add({ kind: 'role', who, role: 'administrator' })
    const team = { params: { name: 'admins' }, body: { persons: ['adam@example.com'] } }
    await world.serve(api.teams.addMembers, root.caller, team)
    type Taking = { readonly route: Route; readonly input: object; readonly after?: object }
    let givers = 0
    const takingAway: (() => Promise<Taking>)[] = [
      async () => ({ route: api.grants.remove, input: { params: { id: await role('adam@example.com') } } }),
      async () => ({ route: api.grants.remove, input: { params: { id: await role('team:admins') } } }),
      async () => {
        await world.serve(api.teams.addMembers, root.caller, team)
        const id = await role('team:admins')
        return { route: api.teams.removeMembers, input: team, after: { params: { id } } }
      },
      async () => {
        const name = `giver${++givers}`
        const body = { name, of: 'organisation', actions: ['grant.add', 'grant.read'] }
        await world.serve(api.roles.add, root.caller, { body })
        const id = await add({ kind: 'role', who: givers % 2 ? 'adam@example.com' : 'team:admins', role: name })
        const less = { params: { name }, body: { remove: ['grant.add'] } }
        return { route: api.roles.change, input: less, after: { params: { id } } }
      },
    ]
    const told = { done: 0, refused: 0 }
    for (let n = 0; n < rounds / 5; n++) {
      const taken = await takingAway[n % 4]?.()
      if (!taken) throw new Error('none')
      const caller = await world.signIn(adam)
      const from = await size()
      const grant = { who: 'victim@example.com', login: `adam${n}`, hosts: { labels: { env: 'prod' } } }
      const [outcome, ended] = await Promise.all([
        turns(n % 3 < 2 ? n % 7 : 0).then(() => world.outcome(api.grants.add, caller, { body: grant })),
        turns(n % 3 < 2 ? 0 : n % 5).then(() => world.outcome(taken.route, root.caller, taken.input)),
      ])
      expect(ended).toBe('done')
      expect(['done', 'denied']).toContain(outcome)
      told[outcome === 'done' ? 'done' : 'refused']++
      const records = await recordsSince(from)
      const end = records.find(({ actor }) => actor === 'root@example.com')
      const changed = records.filter(
        ({ actor, kind, index }) => actor === 'adam@example.com' && kind !== 'denied' && index > (end?.index ?? -1n),
      )
      expect(changed).toEqual([])
      // What is said to be done is there, what is refused is not.
      const there = (await world.services.access.listGrants()).filter(
        given => given.kind === 'login' && given.login === grant.login,
      )
      expect(there).toHaveLength(outcome === 'done' ? 1 : 0)
      if (taken.after) await world.serve(api.grants.remove, root.caller, taken.after)
      if (n % 4 === 2) await world.serve(api.teams.addMembers, root.caller, team)
    }
    expect(Math.min(told.done, told.refused), JSON.stringify(told)).toBeGreaterThan(rounds / 100)
  }, 300_000)

  it('a sign-in by a passkey that is removed at this moment leaves no session; the other passkey signs in', async () => {
    const first = await world.enrol('dan@example.com')
    const second = new Authenticator(world.services.config.publicUrl)
    const { passkeys, signIns } = world.services.identity
    const add = async (caller: BrowserCaller, authenticator: Authenticator) => {
      const registration = authenticator.create(await passkeys.addOptions(caller))
      await world.serve(api.passkeys.add, caller, { body: { name: 'lost', registration } })
    }
    const told = { done: 0, refused: 0 }
    for (let n = 0; n < rounds / 10; n++) {
      const caller = await world.signIn(first)
      await add(caller, second)
      const lost = (await passkeys.list(caller.identity)).at(-1)?.id ?? ''
      const assertion = second.get(await signIns.options())
      const from = await size()
      const signIn = () => signIns.complete(assertion, world.at(), undefined).catch(() => undefined)
      const remove = () => world.serve(api.passkeys.remove, caller, { params: { id: lost } })
      // Either wholly before the other now and then: an engine that does one thing after another might never show it.
      if (n % 5 === 3) await signIn().then(remove)
      else if (n % 5 === 4) await remove().then(signIn)
      else await Promise.all([turns(n % 7).then(signIn), turns((n * 3) % 14).then(remove)])
      // Whoever came first ends with the removal, whoever came later never was.
      told[(await recordsSince(from)).some(({ kind }) => kind === 'login') ? 'done' : 'refused']++
      const open = await world.services.store.query(
        `select id from person_session where person = 'dan@example.com' and ended_at is null and id <> $1`,
        [caller.session],
        { parse: row => String(Reflect.get(Object(row), 'id')) },
      )
      expect(open).toEqual([])
    }
    expect(Math.min(told.done, told.refused), JSON.stringify(told)).toBeGreaterThan(0)
    expect((await world.signIn(first)).identity).toBe('dan@example.com')
  }, 300_000)
}

describe.skipIf(!requires('postgresql'))('whoever is disabled meanwhile, in 1,000 interleavings on PostgreSQL,', () => {
  standing(async () => {
    const postgres: TestPostgres = await startPostgres({ fsync: false })
    const world = await openStandingWorld({
      KEYMAN_DATABASE_URL: postgres.url,
      KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl,
    })
    const close = async () => {
      await world.close()
      await postgres.close()
    }
    return { world, close }
  }, 1000)
})

describe('whoever is disabled meanwhile, in 100 interleavings on PGlite,', () => {
  standing(async () => {
    const world = await openStandingWorld()
    return { world, close: world.close }
  }, 100)
})
