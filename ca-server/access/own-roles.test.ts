import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { byPerson } from '#server/identity/index.ts'
import { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parsePersonIdentity, parsePlace, parseTeamName, parseWorkloadName, workloadPrincipal } from '#shared/names.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { requires } from '#test/support/requires.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import type { Want } from './port.ts'

const alice = parsePersonIdentity('alice@example.com', 'test')
const bob = parsePersonIdentity('bob@example.com', 'test')
const ops = parseTeamName('ops', 'test')
const payments = parsePlace('payments', 'test')
let requests = 0
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_${++requests}` })
const newRole = (name: string, ...actions: string[]) => schemas.newRole.parse({ name, of: 'place', actions })
const to = (who: string, role: string, more: object = {}) =>
  schemas.newGrant.parse({ kind: 'role', who, role, in: 'payments', ...more })
const roleChange = (body: object) => schemas.roleChange.parse(body)
const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'accepted',
    (error: unknown) => (error instanceof KeymanError ? `${error.code}: ${error.message}` : String(error)),
  )
const may = (rooms: Rooms, action: Want['action'], identity = alice) =>
  rooms.access.may({ kind: 'person', identity }, { action, in: payments })

describe('a role in a database that lies', () => {
  let rooms: Rooms
  beforeAll(async () => {
    rooms = await openRooms()
    await rooms.addPerson(alice)
    await rooms.addPerson(bob)
    await rooms.access.places.add({ name: payments, environments: [] }, by())
  })
  afterAll(() => rooms.close())

  const sql = async (text: string, values: readonly string[] = []) => {
    await rooms.store.execute(text, [...values])
    await rooms.access.reload()
  }
  let number = 0
  const given = async (...actions: string[]) => {
    const name = `role${++number}`
    await rooms.access.roles.add(newRole(name, ...actions), by())
    const { id } = await rooms.access.addGrant(to(alice, name), by())
    return {
      name,
      id,
      done: () => rooms.access.removeGrant(id, by()).then(() => rooms.access.roles.remove(name, by())),
    }
  }

  test('that was changed by hand gives nothing, and is neither changed nor given; changed back it does, and is', async () => {
    const { name, done } = await given('host.read')
    const acts = async () => [
      await refusal(rooms.access.roles.change(name, roleChange({ add: ['host.add'] }), by())),
      await refusal(rooms.access.addGrant(to(bob, name), by())),
    ]
    for (const lie of [`actions = '["host.read","grant.add"]'`, `"of" = 'organisation'`, `actions = '[]'`]) {
      await sql(`update role set ${lie} where name = $1`, [name])
      expect([may(rooms, 'host.read'), may(rooms, 'grant.add')]).toEqual([false, false])
      expect(await acts()).toEqual([expect.stringMatching(/^conflict/), expect.stringMatching(/^not-found/)])
      expect(rooms.said.join('\n')).toContain(`role:${name} in the database is not what the audit log says`)
      await sql(`update role set "of" = 'place', actions = '["host.read"]' where name = $1`, [name])
      expect([may(rooms, 'host.read'), may(rooms, 'grant.add')]).toEqual([true, false])
    }
    expect(await acts()).toEqual(['accepted', 'accepted'])
    const id = (await rooms.access.listGrants()).find(({ who }) => who === bob)?.id ?? ''
    await rooms.access.removeGrant(id, by())
    await done()
  })

  test('that was written by hand is none: nobody gets it, and one of its name is made in its place', async () => {
    const row = `insert into role values ('byhand', 'place', '["host.read","grant.add"]', now(), 'root@example.com')`
    await sql(row)
    expect(await refusal(rooms.access.addGrant(to(alice, 'byhand'), by()))).toMatch(/^not-found/)
    expect(await refusal(rooms.access.roles.remove('byhand', by()))).toMatch(/^not-found/)
    await rooms.access.roles.add(newRole('byhand', 'host.read'), by())
    const { id } = await rooms.access.addGrant(to(alice, 'byhand'), by())
    expect([may(rooms, 'host.read'), may(rooms, 'grant.add')]).toEqual([true, false])
    // Nor is one that was taken away, put back.
    await rooms.access.removeGrant(id, by())
    await rooms.access.roles.remove('byhand', by())
    await sql(row.replace(',"grant.add"', ''))
    expect(await refusal(rooms.access.addGrant(to(alice, 'byhand'), by()))).toMatch(/^not-found/)
    await sql(`delete from role where name = 'byhand'`)
  })

  test('that is hidden may give anything to whoever has it: who gets their place has to have all; it is taken away by the log, and put back gives nothing', async () => {
    const { name, id } = await given('host.read')
    const actions = () => new Set(rooms.access.gives.being(alice).map(({ action }) => action))
    expect(actions()).toEqual(new Set(['host.read']))
    await rooms.store.execute('create table kept_role as select * from role where name = $1', [name])
    await sql('delete from role where name = $1', [name])
    expect(may(rooms, 'host.read')).toBe(false)
    expect(actions()).toContain('person.reset')
    expect(rooms.access.gives.changed(id, { endsAt: null }).map(({ action }) => action)).toContain('person.reset')
    expect(rooms.access.gives.role(name, { add: ['host.add'] })).toContainEqual({
      ...{ action: 'host.add', until: Infinity },
    })
    expect(await refusal(rooms.access.roles.change(name, roleChange({ add: ['host.add'] }), by()))).toMatch(/^conflict/)
    expect(await refusal(rooms.access.roles.add(newRole(name, 'host.read'), by()))).toMatch(/^conflict/)
    expect(await refusal(rooms.access.roles.remove(name, by()))).toContain(`is given by ${id}`)
    await rooms.access.removeGrant(id, by())
    await rooms.access.roles.remove(name, by())
    expect(actions()).toEqual(new Set())
    await sql('insert into role select * from kept_role')
    await rooms.store.execute('drop table kept_role', [])
    expect(rooms.access.roles.list().map(role => role.name)).not.toContain(name)
    await sql('delete from role where name = $1', [name])
  })

  test('that a hidden grant may give is not taken away, nor made anew; what is added to it, it may give everywhere and for good', async () => {
    const { name, id } = await given('host.read')
    await rooms.store.execute('create table kept_grant as select * from access_grant where id = $1', [id])
    await sql('delete from access_grant where id = $1', [id])
    expect(rooms.access.gives.role(name, { add: ['host.read', 'host.add'] })).toEqual([
      { action: 'host.add', until: Infinity },
    ])
    expect(await refusal(rooms.access.roles.remove(name, by()))).toContain(`does not show ${id}, which may give`)
    const other = `${name}-other`
    await rooms.access.roles.add(newRole(other, 'host.read'), by())
    // As a restore leaves one that was changed after the backup.
    await rooms.store.transaction({ name: 'restore', deadlineMs: 5000 }, async t => {
      await t.execute('delete from role where name = $1', [other])
      const facts = [{ id: `role:${other}`, is: null }]
      await rooms.ledger.appendIn(t, [{ ...by(), kind: 'restored', target: other, facts }])
    })
    const again = () => refusal(rooms.access.roles.add(newRole(other, 'host.read'), by()))
    expect(await again()).toContain(`does not show ${id}, which may give`)
    // Everybody is decided anew, since it may be anybody's.
    const epochs = () => rooms.ledger.readEpochs([`person:${alice}`, `person:${bob}`])
    const before = await epochs()
    await rooms.access.roles.change(name, roleChange({ add: ['host.change'] }), by())
    const after = await epochs()
    for (const [subject, epoch] of before) expect(after.get(subject), subject).not.toBe(epoch)
    await sql('insert into access_grant select * from kept_grant')
    await rooms.store.execute('drop table kept_grant', [])
    expect([may(rooms, 'host.read'), may(rooms, 'host.change')]).toEqual([true, true])
    expect(await again()).toBe('accepted')
    for (const each of [other, name]) {
      if (each === name) await rooms.access.removeGrant(id, by())
      expect(await refusal(rooms.access.roles.remove(each, by()))).toBe('accepted')
    }
  })

  test('a grant of it that is hidden keeps its project: whoever makes another of that name later has not the one of before in it', async () => {
    const kept = parsePlace('kept', 'test')
    const { name, done } = await given('host.read')
    await rooms.access.places.add({ name: kept, environments: [] }, by())
    const there = await rooms.access.addGrant(to(alice, name, { in: 'kept' }), by())
    await rooms.store.execute('create table kept_grant as select * from access_grant where id = $1', [there.id])
    await sql('delete from access_grant where id = $1', [there.id])
    const removed = () => refusal(rooms.access.places.remove(kept, by()))
    expect(await removed()).toContain(`kept is not empty: maybe ${there.id}, which the database does not show`)
    await sql('insert into access_grant select * from kept_grant')
    await rooms.store.execute('drop table kept_grant', [])
    expect(await removed()).toBe(`conflict: kept is not empty: ${there.id}`)
    await rooms.access.removeGrant(there.id, by())
    expect(await removed()).toBe('accepted')
    await done()
  })

  test('a project whose row alone was taken away is there by the log, and put back has what is in it; one that was removed is made anew, with nothing', async () => {
    const shop = parsePlace('shop', 'test')
    const { name, done } = await given('host.read')
    const add = () => refusal(rooms.access.places.add({ name: shop, environments: [] }, by()))
    const mayThere = () => rooms.access.may({ kind: 'person', identity: alice }, { action: 'host.read', in: shop })
    const grants = () => rooms.access.places.show(shop).grants.map(grant => grant.id)
    expect(await add()).toBe('accepted')
    const { id } = await rooms.access.addGrant(to(alice, name, { in: 'shop' }), by())
    await rooms.store.execute('alter table access_grant drop constraint access_grant_place_fkey', [])
    await rooms.store.execute('create table kept_place as select name, created_at from place', [])
    await sql(`delete from place where name = 'shop'`)
    // Made anew under what is in it, it would be another.
    expect(await add()).toBe('conflict: shop is there already')
    await sql(`insert into place select * from kept_place where name = 'shop'`)
    expect([mayThere(), grants()]).toEqual([true, [id]])
    // As a server does that was not shown the grant: it is another project then.
    await rooms.store.transaction({ name: 'another server', deadlineMs: 5000 }, async t => {
      await t.execute(`delete from place where name = 'shop'`, [])
      const facts = [{ id: 'place:shop', is: null }]
      await rooms.ledger.appendIn(t, [{ ...by(), kind: 'project-removed', target: 'shop', facts }])
    })
    expect(await add()).toBe('accepted')
    expect([mayThere(), grants()]).toEqual([false, []])
    expect(rooms.said.join('\n')).toContain(`grant:${id} in the database is not what the audit log says`)
    await rooms.access.removeGrant(id, by())
    const again = await rooms.access.addGrant(to(alice, name, { in: 'shop' }), by())
    expect(mayThere()).toBe(true)
    await rooms.access.removeGrant(again.id, by())
    await rooms.access.places.remove(shop, by())
    await done()
  })

  test('that has what this release does not know gives the rest, tells what it gives no more, and loses that by the next change', async () => {
    const { name, done } = await given('host.read')
    const written = { of: 'place', actions: ['host.read', 'host.bless', 'person.read'] }
    // As a server of another release recorded it.
    await rooms.store.transaction({ name: 'another release', deadlineMs: 5000 }, async t => {
      await t.execute('update role set actions = $2::jsonb where name = $1', [name, JSON.stringify(written.actions)])
      const facts = [{ id: `role:${name}`, is: written }]
      await rooms.ledger.appendIn(t, [{ ...by(), kind: 'role-changed', target: name, facts }])
    })
    await rooms.access.reload()
    expect([may(rooms, 'host.read'), may(rooms, 'host.add')]).toEqual([true, false])
    const shown = () => rooms.access.roles.list().find(role => role.name === name)
    expect(shown()).toMatchObject({ actions: ['host.read'], lapsed: ['host.bless', 'person.read'] })
    // At a server that knows it, or after an upgrade, it gives what nobody here can say to have: only who has all gives it on.
    const later = parseTeamName('later', 'test')
    await rooms.access.changeTeam(later, { add: [bob], remove: [] }, by())
    const { id } = await rooms.access.addGrant(to('team:later', name, { endsAt: '2099-01-01T00:00:00.000Z' }), by())
    const { gives } = rooms.access
    const ways = () => [
      gives.grant(to(bob, name)),
      gives.changed(id, { endsAt: null }),
      gives.being(alice),
      gives.being('team:later'),
    ]
    for (const wants of ways()) expect(wants).toContainEqual({ action: 'person.reset', until: Infinity })
    await rooms.access.roles.change(name, roleChange({ add: ['host.add'] }), by())
    expect(shown()).toMatchObject({ actions: ['host.read', 'host.add'], lapsed: [] })
    for (const wants of ways()) expect(wants.map(({ action }) => action)).not.toContain('person.reset')
    await rooms.access.removeGrant(id, by())
    await done()
  })

  test('that a workload has gets no action by which others are let in, when it is changed as when that is shown', async () => {
    const { name, done } = await given('host.read')
    const robot = parseWorkloadName('payments/robot', 'test')
    await rooms.workloads.add(schemas.newWorkload.parse({ name: robot }), by())
    await rooms.access.reload()
    const change = { add: ['host.add', 'grant.add'] }
    const words = () => refusal(rooms.access.words.role(rooms.store, name, roleChange(change)))
    expect(await words()).toBe('accepted')
    const { id } = await rooms.access.addGrant(to(workloadPrincipal(robot), name), by())
    const refused = `conflict: ${id} gives ${name} to a workload, which lets nobody in: grant.add`
    expect([await words(), await refusal(rooms.access.roles.change(name, roleChange(change), by()))]).toEqual([
      ...[refused, refused],
    ])
    await rooms.access.removeGrant(id, by())
    expect(await refusal(rooms.access.roles.change(name, roleChange(change), by()))).toBe('accepted')
    await done()
  })

  test('that is gone when it is given is said to be so, in the very transaction in which its touch is looked at', async () => {
    const { name, done } = await given('host.read', 'host.add')
    const may = (role: string) =>
      refusal(
        rooms.store.transaction({ name: 'touch', deadlineMs: 5000 }, async t => {
          const [line] = await rooms.access.words.givenRole(t, role)
          throw new KeymanError('conflict', line?.value ?? '')
        }),
      )
    expect(await may(name)).toBe('conflict: host.read, host.add')
    expect(await may('auditor')).toBe('conflict: audit.read, login.read')
    await done()
    expect(await may(name)).toBe(`not-found: there is no role ${name}`)
  })

  test('changes the numbers of whoever has it, by the rows and by the log, and of nobody else', async () => {
    const { name, done } = await given('host.read')
    await rooms.access.changeTeam(ops, { add: [bob], remove: [] }, by())
    const subjects = [`person:${alice}`, `person:${bob}`, 'team:ops']
    const changedBy = async (body: object) => {
      const before = await rooms.ledger.readEpochs(subjects)
      await rooms.access.roles.change(name, roleChange(body), by())
      const after = await rooms.ledger.readEpochs(subjects)
      return subjects.filter(subject => before.get(subject) !== after.get(subject))
    }
    expect(await changedBy({ add: ['host.add'] })).toEqual([`person:${alice}`])
    const { id } = await rooms.access.addGrant(to('team:ops', name), by())
    expect(await changedBy({ remove: ['host.add'] })).toEqual(subjects)
    await rooms.store.execute(`delete from team_member where team = 'ops'`, [])
    expect(await changedBy({ add: ['host.add'] })).toEqual(subjects)
    await rooms.access.removeGrant(id, by())
    await done()
  })
})

describe.skipIf(!requires('postgresql'))('at the same moment', () => {
  let postgres: TestPostgres
  let rooms: Rooms
  const tess = parsePersonIdentity('tess@example.com', 'test')
  beforeAll(async () => {
    postgres = await startPostgres()
    const { url, migrationUrl } = postgres
    rooms = await openRooms({ store: { engine: 'postgresql', url, migrationUrl } })
    for (const person of [alice, bob, tess]) await rooms.addPerson(person)
    await rooms.access.places.add({ name: payments, environments: [] }, by())
    // All that takes to give, to change a grant or a role and to add to a team; and host.read, for good.
    await rooms.access.roles.add(
      schemas.newRole.parse({
        ...{ name: 'tess', of: 'organisation' },
        actions: ['host.read', 'grant.add', 'grant.change', 'role.change', 'team.add'],
      }),
      by(),
    )
    await rooms.access.addGrant(schemas.newGrant.parse({ kind: 'role', who: tess, role: 'tess' }), by())
  })
  afterAll(async () => {
    await rooms.close()
    await postgres.close()
  })

  /** What Tess does, decided now and done in some turns. */
  const actingAs = async (wants: () => readonly Want[], who = tess) => {
    const caller = await rooms.addSession(who)
    const role = await rooms.access.requireRole(caller, wants, by())
    return byPerson(caller, { role }, { requestId: by().requestId })
  }
  const turns = async (count: number) => {
    for (; count > 0; count--) await rooms.store.ping()
  }
  /** Wholly one after the other now and then: an engine that always does them in the same order would show one of the two alone. */
  const race = async (round: number, one: () => Promise<string>, other: () => Promise<string>) => {
    if (round % 5 === 3) return [await one(), await other()]
    if (round % 5 === 4) {
      const last = await other()
      return [await one(), last]
    }
    const wait = round % 3 === 0 ? [round % 8, 0] : [0, round % 8]
    return Promise.all([turns(wait[0] ?? 0).then(one), turns(wait[1] ?? 0).then(other)])
  }
  const indexOf = async (kinds: readonly string[], request: string | undefined) =>
    (await rooms.ledger.list({ limit: 8 })).findLast(
      each => kinds.includes(each.kind) && (request === undefined || each.requestId === request),
    )?.index
  let number = 0
  const made = async (...actions: string[]) => {
    const name = `race${++number}`
    await rooms.access.roles.add(newRole(name, ...actions), by())
    return name
  }

  /** What Tess, who may not add hosts, does by which somebody would add hosts, once the role gives that. */
  const ways: Record<string, (name: string) => Promise<() => Promise<unknown>>> = {
    async 'a grant of it'(name) {
      const { gives, takes } = rooms.access
      const acting = await actingAs(() => [...takes.giving(to(bob, name)), ...gives.grant(to(bob, name))])
      return () => rooms.access.addGrant(to(bob, name), acting)
    },
    async 'a longer grant of it'(name) {
      const endsAt = new Date(rooms.clock.now.getTime() + 3_600_000).toISOString()
      const { id } = await rooms.access.addGrant(to(bob, name, { endsAt }), by())
      const { gives, takes } = rooms.access
      const acting = await actingAs(() => [
        ...takes.changing(id, { endsAt: null }),
        ...gives.changed(id, { endsAt: null }),
      ])
      return () => rooms.access.changeGrant(id, { endsAt: null }, acting)
    },
    async 'a member of a team that has it'(name) {
      const team = parseTeamName(`${name}-team`, 'test')
      await rooms.access.changeTeam(team, { add: [alice], remove: [] }, by())
      await rooms.access.addGrant(to(`team:${team}`, name), by())
      const acting = await actingAs(() => [{ action: 'team.add' }, ...rooms.access.gives.being(`team:${team}`)])
      return () => rooms.access.changeTeam(team, { add: [bob], remove: [] }, acting)
    },
  }
  test.each(Object.keys(ways))(
    'a role that gets an action and %s, by somebody who has not that action: the later of the two is decided anew',
    async way => {
      const outcomes = new Set<string>()
      for (let round = 0; round < 30; round++) {
        const name = await made('host.read')
        const act = await ways[way]?.(name)
        if (!act) throw new Error('no such way')
        const [changed, gave] = await race(
          round,
          () => refusal(rooms.access.roles.change(name, roleChange({ add: ['host.add'] }), by())),
          () => refusal(act()),
        )
        expect(changed).toBe('accepted')
        const [added, given] = [
          await indexOf(['role-changed'], undefined),
          await indexOf(['grant-added', 'grant-changed', 'team-changed'], undefined),
        ]
        // Before the role had the action it was theirs to give; after it never is.
        if (gave === 'accepted') expect(given).toBeLessThan(Number(added))
        else expect(gave).toMatch(/^denied: .*host\.add/)
        outcomes.add(gave === 'accepted' ? 'before' : 'refused')
      }
      expect(outcomes).toEqual(new Set(['before', 'refused']))
    },
    60_000,
  )

  test('a grant of a role, and a change of it by somebody who has not the action that is added: whoever comes later is decided anew', async () => {
    const outcomes = new Set<string>()
    for (let round = 0; round < 30; round++) {
      const name = await made('host.read')
      const acting = await actingAs(() => [
        { action: 'role.change' },
        ...rooms.access.gives.role(name, { add: ['host.add'] }),
      ])
      const [given, changed] = await race(
        round,
        () => refusal(rooms.access.addGrant(to(bob, name), by())),
        () => refusal(rooms.access.roles.change(name, roleChange({ add: ['host.add'] }), acting)),
      )
      expect(given).toBe('accepted')
      const [grantAt, roleAt] = [
        await indexOf(['grant-added'], undefined),
        await indexOf(['role-changed'], acting.requestId),
      ]
      if (changed === 'accepted') expect(roleAt).toBeLessThan(Number(grantAt))
      else expect(changed).toMatch(/^denied: .*host\.add/)
      outcomes.add(changed === 'accepted' ? 'before' : 'refused')
    }
    expect(outcomes).toEqual(new Set(['before', 'refused']))
  }, 60_000)

  test('a login that a team gets, and a member of it by somebody who may not grant there: the later of the two is decided anew', async () => {
    const toby = parsePersonIdentity('toby@example.com', 'test')
    await rooms.addPerson(toby)
    const role = schemas.newRole.parse({ name: 'teams', of: 'organisation', actions: ['team.add'] })
    await rooms.access.roles.add(role, by())
    await rooms.access.addGrant(schemas.newGrant.parse({ kind: 'role', who: toby, role: 'teams' }), by())
    const { takes, gives } = rooms.access
    const outcomes = new Set<string>()
    for (let round = 0; round < 30; round++) {
      const team = parseTeamName(`login${round}`, 'test')
      await rooms.access.changeTeam(team, { add: [alice], remove: [] }, by())
      const login = { who: `team:${team}`, login: 'root', hosts: { in: payments } }
      const wants = () => [
        { action: 'team.add' } as const,
        ...takes.logins(`team:${team}`),
        ...gives.being(`team:${team}`),
      ]
      const acting = await actingAs(wants, toby)
      const [given, added] = await race(
        round,
        () => refusal(rooms.access.addGrant(schemas.newGrant.parse(login), by())),
        () => refusal(rooms.access.changeTeam(team, { add: [bob], remove: [] }, acting)),
      )
      expect(given).toBe('accepted')
      const [grantAt, memberAt] = [
        await indexOf(['grant-added'], undefined),
        await indexOf(['team-changed'], acting.requestId),
      ]
      if (added === 'accepted') expect(memberAt).toBeLessThan(Number(grantAt))
      else expect(added).toMatch(/^denied: .*grant\.add/)
      outcomes.add(added === 'accepted' ? 'before' : 'refused')
    }
    expect(outcomes).toEqual(new Set(['before', 'refused']))
  }, 60_000)

  test('a role is taken away or given, never both', async () => {
    const outcomes = new Set<string>()
    for (let round = 0; round < 30; round++) {
      const name = await made('host.read')
      const [removed, given] = await race(
        round,
        () => refusal(rooms.access.roles.remove(name, by())),
        () => refusal(rooms.access.addGrant(to(bob, name), by())),
      )
      expect([removed, given].filter(outcome => outcome === 'accepted')).toHaveLength(1)
      outcomes.add(given === 'accepted' ? 'given' : 'removed')
      expect(rooms.ledger.facts.has(`role:${name}`)).toBe(given === 'accepted')
    }
    expect(outcomes).toEqual(new Set(['given', 'removed']))
  }, 60_000)

  test('roles, their grants, and teams and persons who have them never wait for each other in a circle', async () => {
    const teams = ['a', 'b'].map(name => parseTeamName(name, 'test'))
    for (const team of teams) await rooms.access.changeTeam(team, { add: [alice, bob], remove: [] }, by())
    const names = [await made('host.read'), await made('host.read')]
    for (const name of names)
      for (const who of [alice, bob, ...teams.map(team => `team:${team}`)])
        await rooms.access.addGrant(to(who, name), by())
    const work: Promise<unknown>[] = []
    for (let i = 0; i < 10; i++)
      for (const [n, name] of names.entries()) {
        const endsAt = new Date(rooms.clock.now.getTime() + 3_600_000 + i * 2000 + n * 1000).toISOString()
        const body = i % 2 ? { remove: ['host.change'] } : { add: ['host.change'] }
        work.push(refusal(rooms.access.roles.change(name, roleChange(body), by())))
        for (const who of [`team:${teams[n]}`, `team:${teams[1 - n]}`, n ? alice : bob])
          work.push(refusal(rooms.access.addGrant(to(who, name, { endsAt }), by())))
        work.push(refusal(rooms.access.changeTeam(teams[n] ?? ops, { add: [tess], remove: [] }, by())))
      }
    for (const outcome of await Promise.all(work))
      expect(outcome).toMatch(/^(accepted|conflict: .*(so already|changes at this moment))/)
  }, 60_000)
})
