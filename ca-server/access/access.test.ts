import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { byPerson } from '#server/identity/index.ts'
import { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseHostName, parsePersonIdentity, parsePlace, parseTeamName } from '#shared/names.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { requires } from '#test/support/requires.ts'
import { insertPerson } from '#test/support/worlds/insert-rows.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

const alice = parsePersonIdentity('alice@example.com', 'test')
const bob = parsePersonIdentity('bob@example.com', 'test')
const sre = parseTeamName('sre', 'test')
const web1 = { name: parseHostName('web1.prod.example.com', 'test'), labels: { env: 'prod' } }
const asPlace = (name: string) => parsePlace(name, 'test')
let requests = 0
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_${++requests}` })
const newGrant = (other: Record<string, unknown> = {}) =>
  schemas.newGrant.parse({ who: alice, login: 'deploy', hosts: { labels: { env: 'prod' } }, ...other })
const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'accepted',
    (error: unknown) => (error instanceof KeymanError ? `${error.code}: ${error.message}` : String(error)),
  )
const epochsOf = (rooms: Rooms) => rooms.ledger.readEpochs([`person:${alice}`, `person:${bob}`])
const loginsOf = (rooms: Rooms, person = alice) =>
  rooms.access.why(person, person, web1.name, web1).allowed.map(({ login, via }) => `${login} via ${via}`)

describe('teams and grants', () => {
  let rooms: Rooms
  beforeAll(async () => {
    rooms = await openRooms({ hosts: [web1.name] })
    await rooms.addPerson(alice)
    await rooms.addPerson(bob)
  })
  afterAll(() => rooms.close())

  test('a grant is in force at once, changes the number of its person alone, and is recorded', async () => {
    const before = await epochsOf(rooms)
    const grant = await rooms.access.addGrant(newGrant(), by())
    expect(grant).toMatchObject({
      id: expect.stringMatching(/^grant_/),
      createdBy: 'operator',
      maxLifetime: 28_800,
    })
    expect(await rooms.access.listGrants()).toEqual([grant])
    expect(loginsOf(rooms)).toEqual(['deploy via alice@example.com'])
    expect(rooms.access.reachableBy({ kind: 'person', identity: alice }, [web1])).toEqual([
      { name: web1.name, logins: ['deploy'] },
    ])
    const after = await epochsOf(rooms)
    expect(after.get(`person:${alice}`)).not.toBe(before.get(`person:${alice}`))
    expect(after.get(`person:${bob}`)).toBe(before.get(`person:${bob}`))
    const record = JSON.parse((await rooms.ledger.list({ limit: 1, kind: 'grant-added' })).at(-1)?.record ?? '{}')
    expect(record).toMatchObject({ target: grant.id, details: { who: alice, login: 'deploy' } })

    await rooms.access.removeGrant(grant.id, by())
    expect(loginsOf(rooms)).toEqual([])
    expect(await refusal(rooms.access.removeGrant(grant.id, by()))).toMatch(/^not-found/)
  })

  const removedLast = async () =>
    JSON.parse((await rooms.ledger.list({ limit: 1, kind: 'grant-removed' })).at(-1)?.record ?? '{}').details
  const changedBy = async (work: () => Promise<unknown>) => {
    const before = await epochsOf(rooms)
    await work()
    const after = await epochsOf(rooms)
    return [alice, bob].filter(who => after.get(`person:${who}`) !== before.get(`person:${who}`))
  }

  test('a grant is not taken away as another than the log says: whose it is and what is recorded says the log, whatever its row does', async () => {
    const shown = await rooms.access.addGrant(newGrant(), by())
    expect(await changedBy(() => rooms.access.removeGrant(shown.id, by()))).toEqual([alice])
    const asItself = await removedLast()
    expect(asItself).toMatchObject({ who: alice, login: 'deploy' })
    for (const lie of [
      'update access_grant set who = $2 where id = $1',
      'delete from access_grant where id = $1 or who = $2',
    ]) {
      const { id, createdAt: _, createdBy: __, ...gives } = await rooms.access.addGrant(newGrant(), by())
      await rooms.store.execute(lie, [id, bob])
      let answer: unknown
      expect(await changedBy(async () => (answer = await rooms.access.removeGrant(id, by())))).toEqual([alice])
      expect(answer).toEqual(gives)
      const words = asItself.words.replace(shown.id, id)
      expect(await removedLast()).toEqual({ ...asItself, words, row: 'hidden or altered' })
    }
  })

  test.each([
    ['is no record', '{}'],
    ['gives it to another', bob],
    ['says what no record can', '0.5'],
  ])(
    'a grant is taken away though its row is gone and its record %s: everybody is decided anew, and put back it gives nothing',
    async (_, lie) => {
      const { id } = await rooms.access.addGrant(newGrant(), by())
      await rooms.store.execute('create table kept_grant as select * from access_grant', [])
      await rooms.store.execute('delete from access_grant where id = $1', [id])
      const [added] = await rooms.ledger.list({ limit: 1, kind: 'grant-added' })
      const text = added?.record ?? ''
      const lies = lie === '{}' ? lie : text.replace(lie === bob ? alice : '28800', lie)
      expect(lies).not.toBe(text)
      const setRecord = (record: string) =>
        rooms.store.execute('update ledger_record set record = $1 where index = $2', [record, added?.index ?? 0n])
      await setRecord(lies)
      expect(await changedBy(() => rooms.access.removeGrant(id, by()))).toEqual([alice, bob])
      expect(await removedLast()).toEqual({ row: 'hidden or altered' })
      await setRecord(text)
      await rooms.store.execute('insert into access_grant select * from kept_grant', [])
      await rooms.store.execute('drop table kept_grant', [])
      await rooms.access.reload()
      expect(loginsOf(rooms)).toEqual([])
      expect(await refusal(rooms.access.removeGrant(id, by()))).toMatch(/^not-found/)
      await rooms.store.execute('delete from access_grant where id = $1', [id])
    },
  )

  test('while a grant is hidden in the database, a place in any team or of any person gives all that a grant may give', async () => {
    const { gives } = rooms.access
    const ops = parseTeamName('ops', 'test')
    await rooms.access.changeTeam(ops, { add: [bob], remove: [] }, by())
    const role = await rooms.access.addGrant(
      schemas.newGrant.parse({ kind: 'role', who: 'team:ops', role: 'auditor' }),
      by(),
    )
    const given = () =>
      [gives.being('team:ops'), gives.being(bob)].map(wants => new Set(wants.map(({ action }) => action)))
    const shown = given()
    const auditor = new Set(['audit.read', 'login.read'])
    expect(shown).toEqual([auditor, auditor])
    await rooms.store.execute('create table kept_role as select * from access_grant where id = $1', [role.id])
    await rooms.store.execute('delete from access_grant where id = $1', [role.id])
    await rooms.access.reload()
    for (const actions of given()) expect(actions).toContain('person.reset')
    await rooms.store.execute('insert into access_grant select * from kept_role', [])
    await rooms.access.reload()
    expect(given()).toEqual(shown)
    await rooms.access.removeGrant(role.id, by())
    await rooms.access.changeTeam(ops, { add: [], remove: [bob] }, by())
  })

  test('a grant gets other limits and another end, recorded as one; what its kind does not have, or another gives, is refused whole', async () => {
    const grant = await rooms.access.addGrant(newGrant({ options: { sourceAddress: ['10.0.0.0/8'] } }), by())
    const before = await epochsOf(rooms)
    const endsAt = new Date(rooms.clock.now.getTime() + 3_600_500).toISOString()
    const { grant: changed } = await rooms.access.changeGrant(
      grant.id,
      { maxLifetime: 600, endsAt, options: { pty: false, sourceAddress: null } },
      by(),
    )
    expect(changed).toMatchObject({
      ...{ id: grant.id, who: alice, login: 'deploy', maxLifetime: 600, endsAt: `${endsAt.slice(0, 19)}.000Z` },
      options: { pty: false, portForwarding: true },
    })
    expect(changed).not.toHaveProperty('options.sourceAddress')
    expect(await rooms.access.listGrants()).toEqual([changed])
    expect(rooms.access.principalsFor(web1)).toMatchObject({ deploy: [{ principal: alice, pty: false }] })
    expect((await epochsOf(rooms)).get(`person:${alice}`)).not.toBe(before.get(`person:${alice}`))
    const record = JSON.parse((await rooms.ledger.list({ limit: 1, kind: 'grant-changed' })).at(-1)?.record ?? '{}')
    expect(record).toMatchObject({
      target: grant.id,
      details: { maxLifetime: 600, before: expect.stringContaining('8h') },
    })
    const change = (id: string, what: Parameters<typeof rooms.access.changeGrant>[1]) =>
      refusal(rooms.access.changeGrant(id, what, by()))
    expect(await change(grant.id, { maxLifetime: 600 })).toMatch(/^conflict: .* so already/)
    expect(await change(grant.id, { endsAt: new Date(0).toISOString() })).toMatch(/^invalid-input: endsAt/)
    expect(await change('grant_0123456789', { maxLifetime: 60 })).toMatch(/^not-found/)
    const other = await rooms.access.addGrant(newGrant(), by())
    expect(await change(grant.id, { maxLifetime: 28_800, endsAt: null, options: { pty: true } })).toMatch(
      new RegExp(`^conflict: ${other.id} gives just this`),
    )
    const role = await rooms.access.addGrant(
      schemas.newGrant.parse({ kind: 'role', who: alice, role: 'auditor' }),
      by(),
    )
    expect(await change(role.id, { maxLifetime: 600 })).toMatch(/^invalid-input: maxLifetime/)
    expect(await change(role.id, { options: { pty: true } })).toMatch(/^invalid-input: options/)
    expect(await change(role.id, { endsAt })).toBe('accepted')
    // As it was once is not what the log says: a row that somebody puts back is no grant.
    await rooms.store.execute('update access_grant set ends_at = null where id = $1', [role.id])
    expect(await change(role.id, { endsAt: null })).toMatch(/^conflict: .* not what the audit log says/)
    await rooms.store.execute('update access_grant set ends_at = $2::timestamptz where id = $1', [
      role.id,
      `${endsAt.slice(0, 19)}Z`,
    ])
    for (const { id } of [grant, other, role]) await rooms.access.removeGrant(id, by())
  })

  test('of two that give just the same one is refused, though both are asked for at the same moment; one that the log does not know is in no way of it', async () => {
    const both = await Promise.allSettled([
      rooms.access.addGrant(newGrant(), by()),
      rooms.access.addGrant(newGrant(), by()),
    ])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const [grant] = await rooms.access.listGrants()
    const refused = both.find(each => each.status === 'rejected')
    expect(String(refused?.reason)).toContain(`${grant?.id} gives just this already`)
    await rooms.access.removeGrant(grant?.id ?? '', by())
    const again = await rooms.access.addGrant(newGrant(), by())
    await rooms.store.execute(
      `insert into access_grant select (jsonb_populate_record(g, '{"id":"grant_neverrecorded"}')).* from access_grant g where id = $1`,
      [again.id],
    )
    await rooms.access.removeGrant(again.id, by())
    const next = await rooms.access.addGrant(newGrant(), by())
    await rooms.store.execute(`delete from access_grant where id = 'grant_neverrecorded'`, [])
    await rooms.access.removeGrant(next.id, by())
  })

  test('why is asked of oneself, of others by whoever has a role for it alone, and reasons in full are for these', async () => {
    const root = parsePersonIdentity('root@example.com', 'test')
    await rooms.addPerson(root, { owner: true })
    await rooms.access.reload()
    const own = rooms.access.why(bob, bob, web1.name, web1)
    const full = rooms.access.why(root, bob, web1.name, web1)
    expect([own.allowed, full.allowed]).toEqual([[], []])
    expect(own.reasons).toHaveLength(1)
    expect(own.reasons).not.toEqual(full.reasons)
    expect(() => rooms.access.why(bob, alice, web1.name, web1)).toThrow(KeymanError)
    // Nor does anybody else learn by it which hosts there are.
    const nowhere = parseHostName('web77.prod.example.com', 'test')
    const there = JSON.stringify(own).replaceAll(web1.name, nowhere)
    expect(JSON.stringify(rooms.access.why(bob, bob, nowhere, undefined))).toBe(there)
    expect(() => rooms.access.why(root, bob, nowhere, undefined)).toThrow('there is no host')
  })

  test('whoever has no role for it is refused, reads no more than what it takes, and the try is recorded', async () => {
    const root = parsePersonIdentity('root@example.com', 'test')
    const look = () => [{ action: 'person.read' }] as const
    const asked = { actor: { kind: 'person' as const, identity: bob }, requestId: 'req_try', from: '192.0.2.7' }
    await rooms.access.requireRole({ kind: 'person', identity: root }, look, by())
    const refused = rooms.access.requireRole({ kind: 'person', identity: bob }, look, asked)
    expect(await refusal(refused)).toBe('denied: this takes a role that you do not have: person.read')
    const [entry] = await rooms.ledger.list({ limit: 1, kind: 'denied' })
    expect(JSON.parse(entry?.record ?? '{}')).toMatchObject({
      ...asked,
      target: 'person.read',
      decision: 'deny',
      reason: `${bob} has no role: none gives person.read on the organisation`,
    })
    expect(await rooms.ledger.list({ limit: 10, kind: 'denied' })).toHaveLength(1)
  })

  test('an owner who was enrolled at this very moment is let in, though no notification has come', async () => {
    const eve = parsePersonIdentity('eve@example.com', 'test')
    await insertPerson(rooms, { identity: eve, owner: true, at: new Date() })
    await rooms.access.requireRole({ kind: 'person', identity: eve }, () => [{ action: 'person.read' }], by())
  })

  test('a role that has ended by the clock since its person was let in does nothing more; until then it does', async () => {
    const { now } = rooms.clock
    const endsAt = new Date(now.getTime() + 60_000)
    const role = { kind: 'role', who: bob, role: 'administrator', endsAt: endsAt.toISOString() }
    const { id } = await rooms.access.addGrant(schemas.newGrant.parse(role), by())
    const caller = await rooms.addSession(bob)
    const held = await rooms.access.requireRole(caller, () => [{ action: 'grant.add' }], by())
    const add = (login: string) =>
      rooms.access.addGrant(
        newGrant({ login }),
        byPerson(caller, { role: held }, { requestId: `req_${login}`, from: '192.0.2.7' }),
      )
    const given = await add('early')
    rooms.clock.now = endsAt
    expect(await refusal(add('late'))).toBe('denied: this takes a role that you do not have: grant.add')
    expect((await rooms.access.listGrants()).map(grant => grant.id).sort()).toEqual([id, given.id].sort())
    rooms.clock.now = now
    for (const each of [id, given.id]) await rooms.access.removeGrant(each, by())
  })

  test('a person in a team gets what the team has, until taken out of it; no certificate has to change', async () => {
    expect(await refusal(rooms.access.addGrant(newGrant({ who: 'team:sre' }), by()))).toMatch(
      /^not-found: .*no team sre/,
    )
    expect(await rooms.access.changeTeam(sre, { add: [alice], remove: [] }, by())).toEqual({
      name: 'sre',
      members: [alice],
    })
    const grant = await rooms.access.addGrant(newGrant({ who: 'team:sre' }), by())
    expect(loginsOf(rooms)).toEqual(['deploy via team:sre'])
    expect(rooms.access.teamsOf(alice)).toEqual(['sre'])
    expect(rooms.access.principalsFor(web1)).toMatchObject({ deploy: [{ principal: alice }] })
    const before = await epochsOf(rooms)
    expect(await rooms.access.changeTeam(sre, { add: [], remove: [alice] }, by())).toEqual({ name: 'sre', members: [] })
    expect((await epochsOf(rooms)).get(`person:${alice}`)).not.toBe(before.get(`person:${alice}`))
    expect(rooms.access.principalsFor(web1)).toEqual({})
    expect(await refusal(rooms.access.changeTeam(sre, { add: [], remove: [alice] }, by()))).toMatch(/^not-found/)
    await rooms.access.removeGrant(grant.id, by())
  })

  test('a grant to a host that is not there, or that has ended already, is refused and changes nothing', async () => {
    const elsewhere = newGrant({ hosts: { host: 'web9.prod.example.com' } })
    expect(await refusal(rooms.access.addGrant(elsewhere, by()))).toMatch(/^not-found: there is no host web9/)
    const over = newGrant({ endsAt: new Date(rooms.clock.now.getTime() - 1).toISOString() })
    expect(await refusal(rooms.access.addGrant(over, by()))).toMatch(/^invalid-input: endsAt/)
    expect(await rooms.access.listGrants()).toEqual([])
    const here = newGrant({ hosts: { host: web1.name } })
    expect(await refusal(rooms.access.addGrant(here, by()))).toBe('accepted')
  })

  test('a session that ends makes nobody read anew who may do what; a person who is disabled does', async () => {
    const { session } = await rooms.addSession(bob)
    const told: string[] = []
    const deaf = await rooms.store.listen('identity', kind => told.push(kind))
    let reloads = 0
    const end = rooms.access.onChange(() => reloads++)
    await rooms.store.transaction({ name: 'test', deadlineMs: 5000 }, t => rooms.identity.endSessions(t, { session }))
    await expect.poll(() => told).toEqual(['session'])
    await rooms.identity.persons.disable(bob, by())
    const reasons = () => {
      const decision = rooms.access.decide({ kind: 'person', identity: bob }, { kind: 'do', wants: [] })
      return decision.allow ? [] : decision.reasons
    }
    await expect.poll(reasons).toEqual([`${bob} is disabled`])
    expect([told, reloads]).toEqual([['session', 'person'], 1])
    await rooms.identity.persons.enable(bob, by())
    await expect.poll(() => reloads).toBe(2)
    end()
    await deaf()
  })

  test('whoever follows the decisions hears of each change', async () => {
    let heard = 0
    const end = rooms.access.onChange(() => heard++)
    await rooms.access.changeTeam(sre, { add: [bob], remove: [] }, by())
    end()
    expect(heard).toBeGreaterThan(0)
  })
})

describe.skipIf(!requires('postgresql'))('on PostgreSQL', () => {
  let postgres: TestPostgres
  let rooms: Rooms
  beforeAll(async () => {
    postgres = await startPostgres()
    const { url, migrationUrl } = postgres
    rooms = await openRooms({ store: { engine: 'postgresql', url, migrationUrl } })
    await rooms.addPerson(alice)
    await rooms.addPerson(bob)
  })
  afterAll(async () => {
    await rooms.close()
    await postgres.close()
  })

  test('changes of two teams with the same members, their grants and their persons never wait for each other in a circle', async () => {
    const teams = ['a', 'b'].map(name => parseTeamName(name, 'test'))
    for (const team of teams) await rooms.access.changeTeam(team, { add: [alice], remove: [] }, by())
    const work: Promise<unknown>[] = []
    for (let i = 0; i < 12; i++)
      for (const team of teams) {
        work.push(
          rooms.access
            .addGrant(newGrant({ who: `team:${team}`, maxLifetime: 3600 + i }), by())
            .then(g => rooms.access.removeGrant(g.id, by())),
        )
        work.push(rooms.access.changeTeam(team, { add: [bob], remove: [] }, by()))
        work.push(
          rooms.access.addGrant(
            newGrant({ who: i % 2 ? alice : bob, maxLifetime: 3600 + 2 * i + Number(team === 'a') }),
            by(),
          ),
        )
      }
    await Promise.all(work)
    expect(await rooms.access.listGrants()).toHaveLength(24)
  })

  test('whoever brings somebody into a team that gets a role at the same moment gives none that they do not have', async () => {
    const { access } = rooms
    const tess = parsePersonIdentity('tess@example.com', 'test')
    await rooms.addPerson(tess)
    const caller = await rooms.addSession(tess)
    const give = (who: string, ends: object = {}) =>
      access.addGrant(schemas.newGrant.parse({ kind: 'role', who, role: 'administrator', ...ends }), by())
    await give(tess, { endsAt: new Date(rooms.clock.now.getTime() + 3_600_000).toISOString() })
    const outcomes = new Set<string>()
    for (let round = 0; round < 40; round++) {
      const team = parseTeamName(`round${round}`, 'test')
      await access.changeTeam(team, { add: [alice], remove: [] }, by())
      const wants = () => [{ action: 'team.add' as const }, ...access.gives.being(`team:${team}`)]
      const role = await access.requireRole(caller, wants, by())
      const giving = give(`team:${team}`)
      for (let turns = round % 10; turns > 0; turns--) await rooms.store.ping()
      const acting = byPerson(caller, { role }, { requestId: by().requestId })
      const [, added] = await Promise.all([
        giving,
        refusal(access.changeTeam(team, { add: [bob], remove: [] }, acting)),
      ])
      const records = (await rooms.ledger.list({ limit: 8 })).map(({ record }) => JSON.parse(record))
      const at = (kind: string, about: object) =>
        records.findLastIndex(
          each => each.kind === kind && Object.entries(about).every(([key, value]) => each.details?.[key] === value),
        )
      const given = at('grant-added', { who: `team:${team}` })
      const joined = at('team-changed', { person: bob })
      // Into a team without any it was allowed; into one that has more than they have it never is.
      expect(added === 'accepted' ? joined < given : /^denied/.test(added)).toBe(true)
      outcomes.add(added === 'accepted' ? 'before' : 'refused')
    }
    expect(outcomes).toContain('refused')
    // Once they have as much, for as long, they may.
    await give(tess)
    const last = parseTeamName('round0', 'test')
    const role = await access.requireRole(caller, () => [...access.gives.being(`team:${last}`)], by())
    await access.changeTeam(
      last,
      { add: [tess], remove: [] },
      byPerson(caller, { role }, { requestId: by().requestId }),
    )
  })

  test('no environment outlives its project, whichever of the two comes first', async () => {
    const { places } = rooms.access
    for (let i = 0; i < 40; i++) {
      const [shop, prod] = [asPlace(`shop${i}`), asPlace(`shop${i}/prod`)]
      await places.add({ name: shop, environments: [] }, by())
      const removal = refusal(places.remove(shop, by()))
      const addition = refusal(places.add({ name: shop, environments: [asPlace('prod')] }, by()))
      const [removed, added] = await Promise.all([removal, addition])
      const there = places.list().find(({ name }) => name === shop)
      expect([removed, added].filter(outcome => outcome === 'accepted' || /^conflict/.test(outcome))).toHaveLength(2)
      // Made anew after it was removed, with its environment; or kept, since there is one in it; or gone.
      expect(there?.environments ?? []).toEqual(added === 'accepted' ? [prod] : [])
      expect(rooms.ledger.facts.has(`place:${prod}`)).toBe(added === 'accepted')
    }
    await expect(rooms.store.execute(`insert into place values ('nobody/prod', now())`, [])).rejects.toThrow()
  })

  test('a project that two make at the same moment is said to be there once, so that it stays the one that something was put into', async () => {
    const { places } = rooms.access
    for (let i = 0; i < 10; i++) {
      const mall = asPlace(`mall${i}`)
      const add = (environment: string) =>
        refusal(places.add({ name: mall, environments: [asPlace(environment)] }, by()))
      const outcomes = await Promise.all(['prod', 'test'].map(add))
      expect(
        outcomes.filter(outcome => outcome === 'accepted' || /^conflict: .* at this moment/.test(outcome)),
      ).toEqual(outcomes)
      for (const [n, environment] of ['prod', 'test'].entries())
        if (outcomes[n] !== 'accepted') expect(await add(environment)).toBe('accepted')
      const records = await rooms.ledger.list({ kind: 'project-added', limit: 3 })
      const said = records.filter(({ record }) => Object.hasOwn(JSON.parse(record).facts, `place:${mall}`))
      expect(said).toHaveLength(1)
      expect(places.list().find(({ name }) => name === mall)?.environments).toEqual([`${mall}/prod`, `${mall}/test`])
    }
  })
})

test('a decision by what is known to be older than five seconds is refused, until it has been read anew', async () => {
  let monotonic = 0
  const rooms = await openRooms({ hosts: [web1.name], monotonic: () => monotonic })
  try {
    await rooms.addPerson(alice)
    const { id } = await rooms.access.addGrant(newGrant(), by())
    const decides = () => refusal((async () => rooms.access.reachableBy({ kind: 'person', identity: alice }, [web1]))())
    // Somebody else's change stands in the log; what it changed can't be read.
    await rooms.store.execute('alter table access_grant rename to elsewhere', [])
    const facts = [{ id: `grant:${id} is something else`, is: 'told' }]
    await rooms.store.transaction({ name: 'another server', deadlineMs: 5_000 }, t =>
      rooms.ledger.appendIn(t, [{ ...by(), kind: 'grant-removed', target: id, facts }]),
    )
    await rooms.ledger.follow()
    monotonic += 5_000
    expect(await decides()).toBe('accepted')
    monotonic += 1
    await rooms.ledger.follow()
    expect(await decides()).toMatch(/^unavailable: .* who may do what/)
    expect(await refusal(rooms.access.reload())).not.toBe('accepted')
    expect(await decides()).toMatch(/^unavailable/)
    await rooms.store.execute('alter table elsewhere rename to access_grant', [])
    await rooms.access.reload()
    expect(await decides()).toBe('accepted')
  } finally {
    await rooms.close()
  }
})
