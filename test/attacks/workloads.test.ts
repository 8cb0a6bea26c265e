import { X509Certificate } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Connection, call } from '#cli/server/client.ts'
import { proveBoth } from '#cli/session/keys.ts'
import { api } from '#shared/api/index.ts'
import { parseJoinToken } from '#shared/join-token.ts'
import { parseCertificate } from '#shared/ssh/index.ts'
import { inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import {
  addWorkload,
  joinWorkload,
  newToken,
  renewWorkload,
  withNewClientKey,
  workloadJoinBody,
} from '#test/support/people/workload.ts'
import {
  type AttackWorld,
  addHost,
  bodyOf,
  joinBody,
  machineCall,
  newKeys,
  openAttackWorld,
  outcome,
  refusal,
} from '#test/support/worlds/attack-world.ts'

/** Machine identities: their tokens, the keys that they replace, and what they may do. Alice owns the organisation. */

let world: AttackWorld
beforeAll(async () => {
  world = await openAttackWorld()
  await call(world.alice.connection, api.projects.add, {
    body: bodyOf(api.projects.add, { name: 'payments', environments: ['prod', 'dev'] }),
  })
  await addHost(world, 'web1.keyman.localhost', { in: 'payments/prod' })
})
afterAll(() => world?.close())
afterEach(() => world.setClock(0))

let number = 0
/** Of a name that nothing else here has. */
const fresh = (place = 'payments/prod') => `${place}/w${++number}`
const add = (name: string, more = {}) => addWorkload(world.alice, name, more)
const joined = async (name = fresh(), more = {}) => joinWorkload(world.stranger, name, await add(name, more))
const join = (body: unknown) => machineCall(world.stranger, 'POST', '/v1/workloads/join', { body })
const give = (who: string, what: Record<string, unknown>, by = world.alice) =>
  call(by.connection, api.grants.add, { body: bodyOf(api.grants.add, { who, ...what }) })
const login = { login: 'backup', hosts: { in: 'payments/prod' } }
const show = (name: string) => call(world.alice.connection, api.workloads.show, { params: { name } })
const who = (connection: Connection) => outcome(call(connection, api.workloadSelf.show))
const records = (kind: string) =>
  call(world.alice.connection, api.auditTrail.list, { query: { kind, limit: 5 } }).then(answer =>
    answer.records.map(({ record }) => JSON.parse(record)),
  )
const newcomer = async (name: string) => logIn(world.server, await inviteAndEnrol(world.server, world.alice, name))

describe('the token of a workload', () => {
  it('used twice, with other keys, at once or later: begins one session', async () => {
    const token = await add(fresh())
    const bodies = await Promise.all([1, 2, 3, 4].map(() => workloadJoinBody(world.stranger, token)))
    const codes = (await Promise.all(bodies.map(join))).map(({ code }) => code)
    expect(codes.toSorted()).toEqual(['', 'expired', 'expired', 'expired'])
    expect((await join(await workloadJoinBody(world.stranger, token))).code).toBe('expired')
  })

  it('that has ended, is not known, was followed by a new one, or is of a workload that was removed or ended: begins none', async () => {
    const try_ = async (token: string) => (await join(await workloadJoinBody(world.stranger, token))).code
    const late = await add(fresh(), { tokenLifetime: 600 })
    world.setClock(601)
    expect(await try_(late)).toBe('expired')
    world.setClock(0)
    expect(await try_('A'.repeat(43))).toBe('denied')
    const name = fresh()
    const first = await add(name)
    const second = await newToken(world.alice, name)
    expect(await try_(first)).toBe('expired')
    await call(world.alice.connection, api.workloads.end, { params: { name }, query: { wait: 0 } })
    expect(await try_(second)).toBe('expired')
    const third = await newToken(world.alice, name)
    await call(world.alice.connection, api.workloads.remove, { params: { name }, query: { wait: 0 } })
    expect(await try_(third)).toBe('denied')
    expect(await try_(await add(name))).toBe('')
  })

  it('names the workload: whoever chooses one is refused, and so is who proves other keys, or for another purpose', async () => {
    const token = await add(fresh())
    const keys = newKeys()
    const whole = await workloadJoinBody(world.stranger, token, keys)
    expect((await join({ ...whole, name: 'payments/prod/other' })).code).toBe('invalid-input')
    expect((await join({ ...whole, proof: proveBoth(newKeys(), 'workload', whole.proof.challenge) })).code).toBe(
      'denied',
    )
    expect((await join({ ...whole, proof: proveBoth(keys, 'join', whole.proof.challenge) })).code).toBe('denied')
    expect((await join(whole)).status).toBe(201)
  })

  it('is good while whoever made it may make it: not after they lost the role, or all that they had was ended', async () => {
    const eve = await newcomer('eve-token@example.com')
    const role = () => give('eve-token@example.com', { kind: 'role', role: 'editor', in: 'payments/prod' })
    const { id } = await role()
    const lost = await addWorkload(eve, fresh())
    await call(world.alice.connection, api.grants.remove, { params: { id }, query: { wait: 0 } })
    expect((await join(await workloadJoinBody(world.stranger, lost))).code).toBe('denied')
    await role()
    expect((await join(await workloadJoinBody(world.stranger, lost))).status).toBe(201)
    const ended = await addWorkload(eve, fresh())
    await call(world.alice.connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target: { person: 'eve-token@example.com' }, wait: 0 }),
    })
    expect((await join(await workloadJoinBody(world.stranger, ended))).code).toBe('denied')
  })

  it('of one that is there is made by nobody who could not give what it was given', async () => {
    const ed = await newcomer('ed@example.com')
    await give('ed@example.com', { kind: 'role', role: 'editor', in: 'payments' })
    const plain = fresh()
    await joined(plain)
    expect(await outcome(newToken(ed, plain))).toBe('done')
    const trusted = fresh()
    await joined(trusted)
    await give(`workload:${trusted}`, login)
    expect(await outcome(newToken(ed, trusted))).toBe('denied')
    await give('ed@example.com', { kind: 'role', role: 'admin', in: 'payments/prod' })
    expect(await outcome(newToken(ed, trusted))).toBe('done')
    const powerful = fresh()
    await joined(powerful)
    await give(`workload:${powerful}`, { kind: 'role', role: 'auditor' })
    expect(await outcome(newToken(ed, powerful))).toBe('denied')
    expect(await outcome(newToken(world.alice, powerful))).toBe('done')
  })

  it('used for one that is there ends the session that it had, and its certificates', async () => {
    const name = fresh()
    const before = await joined(name)
    await give(`workload:${name}`, login)
    const { ssh } = (await renewWorkload(before)).login
    const after = await joinWorkload(world.stranger, name, await newToken(world.alice, name))
    expect(await who(before.connection)).toBe('not-signed-in')
    expect(await who(after.connection)).toBe('done')
    const revoked = await records('revoked')
    expect(revoked.some(({ details }) => details.serials?.includes(ssh?.serial))).toBe(true)
    expect((await show(name)).state).toBe('active')
  })
})

describe('a session', () => {
  it('has certificates for its own name alone, a client key that is another each time, and an SSH key that stays', async () => {
    const name = fresh()
    const first = await joined(name)
    expect(first.login).toMatchObject({ session: { workload: name }, denial: expect.stringContaining('no grant') })
    await give(`workload:${name}`, { ...login, maxLifetime: 3600 })
    const second = await renewWorkload(first)
    const { ssh, client, hosts } = second.login
    expect(hosts).toMatchObject([{ name: 'web1.keyman.localhost', logins: ['backup'] }])
    const { session } = second.login.session
    expect(new X509Certificate(client.certificate).subjectAltName).toBe(
      `URI:keyman://${second.login.session.organisation}/workload/${name}/session/${session}`,
    )
    const certificate = parseCertificate(ssh?.certificate ?? '', 'test')
    expect(certificate).toMatchObject({
      kind: 'user',
      principals: [`workload:${name}`],
      keyId: `workload:${name}/token/${session}`,
    })
    expect(certificate.subjectKey.blob).toEqual(first.keys.ssh.publicKey.blob)
    expect(Number(certificate.validBefore - certificate.validAfter)).toBe(3660)
    const issued = (await records('ssh-user-certificate')).at(-1)
    expect(issued).toMatchObject({
      actor: { kind: 'workload', identity: `workload:${name}`, session },
      certificate: { person: `workload:${name}`, serial: ssh?.serial },
    })
  })

  it('by a key that was replaced goes on for nobody: refused at first, and after a minute it ends, with an alarm', async () => {
    const name = fresh()
    await give(`workload:${(await joined(name)).name}`, login)
    const first = await joinWorkload(world.stranger, name, await newToken(world.alice, name))
    const second = await renewWorkload(first)
    expect((await refusal(call(first.connection, api.workloadSelf.show))).message).toContain('replaced by a newer one')
    expect(await who(second.connection)).toBe('done')
    world.setClock(61)
    expect(await who(first.connection)).toBe('not-signed-in')
    expect(await who(second.connection)).toBe('not-signed-in')
    expect(await outcome(renewWorkload(second))).toBe('not-signed-in')
    const ended = (await records('workload-ended')).at(-1)
    expect(ended).toMatchObject({
      target: `workload:${name}`,
      reason: expect.stringContaining('a key of it that had been replaced'),
    })
    const revoked = (await records('revoked')).at(-1)
    expect(revoked).toMatchObject({
      target: `workload ${name}`,
      details: { serials: `${first.login.ssh?.serial}-${second.login.ssh?.serial}` },
    })
    expect(await show(name)).toMatchObject({ state: 'ended', ended: expect.stringContaining('127.0.0.1') })
    expect(world.server.output()).toContain(`workload ${name}: somebody came from 127.0.0.1`)
  })

  it('by such a key asks for no other key; the answer that was lost it gets once more, with proof of the newer key', async () => {
    // TLS itself goes by the real clock, by which a certificate has begun.
    const name = fresh()
    const token = await add(name)
    world.setClock(-3600)
    const first = await joinWorkload(world.stranger, name, token)
    const keys = withNewClientKey(first.keys)
    await renewWorkload(first, keys)
    world.setClock(0)
    const again = await renewWorkload(first, keys, first.connection)
    expect(await who(again.connection)).toBe('done')
    // Whoever has the old key alone proves nothing of the newer one.
    const { challenge } = await call(world.stranger, api.login.challenge)
    const proof = proveBoth(first.keys, 'workload', challenge)
    const { clientPublicKey } = await workloadJoinBody(world.stranger, '', keys)
    const forged = await machineCall(first.connection, 'POST', '/v1/workload/renewal', {
      body: { clientPublicKey, proof },
    })
    expect(forged.code).toBe('denied')
    expect(await who(again.connection)).toBe('done')
    expect(await outcome(renewWorkload(first))).toBe('not-signed-in')
    expect(await who(again.connection)).toBe('not-signed-in')
  })

  it('is renewed once by two that ask at once: the other comes again with the newer key', async () => {
    const first = await joined()
    const tries = await Promise.all([1, 2, 3].map(() => renewWorkload(first).then(w => w, refusalOf)))
    const renewed = tries.flatMap(tried => (tried instanceof Error ? [] : [tried]))
    expect(renewed).toHaveLength(1)
    expect(await Promise.all(renewed.map(({ connection }) => who(connection)))).toEqual(['done'])
  })

  it('ends when it is not renewed, and in any case after its time; what is changed later brings none back', async () => {
    const name = fresh()
    const token = await add(name, { idle: 7200, lifetime: 9000 })
    world.setClock(-6000)
    const first = await joinWorkload(world.stranger, name, token)
    world.setClock(-3000)
    const second = await renewWorkload(first)
    expect(second.login.client.endsAt).toBe(second.login.session.endsAt)
    world.setClock(2990)
    expect(await who(second.connection)).toBe('done')
    world.setClock(3001)
    expect(await who(second.connection)).toBe('not-signed-in')
    const change = (body: object) =>
      call(world.alice.connection, api.workloads.change, { params: { name }, body: bodyOf(api.workloads.change, body) })
    expect(await change({ lifetime: 86_400 })).toMatchObject({ state: 'ended', ended: 'its time was over' })
    expect(await who(second.connection)).toBe('not-signed-in')
    world.setClock(0)
    const idle = fresh()
    const other = await joined(idle, { idle: 1800, lifetime: 7200 })
    world.setClock(1801)
    expect(await who(other.connection)).toBe('not-signed-in')
    expect((await show(idle)).ended).toBe('it was not renewed in time')
    world.setClock(0)
    const longer = await joined(name.replace(/\d+$/, 'longer'), { idle: 3600, lifetime: 7200 })
    await call(world.alice.connection, api.workloads.change, {
      params: { name: longer.name },
      body: bodyOf(api.workloads.change, { lifetime: 86_400 }),
    })
    const renewed = await renewWorkload(longer)
    const [from, to] = [renewed.login.session.startedAt, renewed.login.session.endsAt].map(time => Date.parse(time))
    expect((to ?? 0) - (from ?? 0)).toBe(86_400_000)
  })

  it.each(['end', 'remove', 'leave', 'keyId', 'publicKey'] as const)(
    'ends at once, with its certificates: %s',
    async how => {
      const name = fresh()
      const { id } = await joined(name).then(() => give(`workload:${name}`, login))
      const workload = await joinWorkload(world.stranger, name, await newToken(world.alice, name))
      expect(await who(workload.connection)).toBe('done')
      const { ssh } = workload.login
      const revoke = (target: object) =>
        call(world.alice.connection, api.revocations.create, {
          body: bodyOf(api.revocations.create, { target, wait: 0 }),
        })
      const input = { params: { name }, query: { wait: 0 } }
      if (how === 'end') expect((await call(world.alice.connection, api.workloads.end, input)).revoked).toBe(1)
      if (how === 'remove') {
        expect((await refusal(call(world.alice.connection, api.workloads.remove, input))).message).toContain(id)
        await call(world.alice.connection, api.grants.remove, { params: { id }, query: { wait: 0 } })
        expect((await call(world.alice.connection, api.workloads.remove, input)).revoked).toBe(1)
      }
      if (how === 'leave') await call(workload.connection, api.workloadSelf.end)
      if (how === 'keyId') expect(await revoke({ keyId: ssh?.keyId })).toMatchObject({ revoked: 1, sessions: 1 })
      if (how === 'publicKey') await revoke({ publicKey: workload.keys.ssh.line })
      expect(await who(workload.connection)).toBe('not-signed-in')
      expect(await outcome(renewWorkload(workload))).toBe('not-signed-in')
      const revoked = await records('revoked')
      expect(revoked.some(({ details }) => details.serials === ssh?.serial)).toBe(true)
    },
  )
})

const refusalOf = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

describe('a workload', () => {
  it('does nothing that is for persons or hosts, and nothing that takes a role which it has not', async () => {
    const { connection } = await joined()
    const code = async (method: string, path: string) =>
      (await machineCall(connection, method, path, { body: {} })).code
    expect(await code('GET', '/v1/session')).toBe('denied')
    expect(await code('POST', '/v1/ssh/user-certificates')).toBe('denied')
    expect(await code('POST', '/v1/session/client-certificate')).toBe('denied')
    expect(await code('POST', '/v1/host/client-certificate')).toBe('denied')
    expect(await outcome(call(connection, api.hosts.list))).toBe('denied')
    expect(await outcome(call(world.alice.connection, api.workloadSelf.show))).toBe('denied')
  })

  it('asks why of itself; of others, and what others have, it hears by a role alone', async () => {
    const name = fresh()
    const { connection } = await joined(name)
    const { id } = await give(`workload:${name}`, login)
    const host = 'web1.keyman.localhost'
    const why = (query: object) => call(connection, api.access.why, { query: { host, ...query } })
    expect((await why({})).allowed).toMatchObject([{ login: 'backup', grant: id }])
    const person = world.alice.person.identity
    expect(await outcome(why({ person }))).toBe('denied')
    expect(await outcome(call(connection, api.access.may, { query: { action: 'host.add', person } }))).toBe('denied')
    expect((await why({ host: 'nowhere.keyman.localhost' })).reasons).toHaveLength(1)
    await give(`workload:${name}`, { kind: 'role', role: 'operator' })
    expect((await why({ person })).person).toBe(person)
    expect((await refusal(why({ host: 'nowhere.keyman.localhost' }))).message).toContain('there is no host')
  })

  it('does by a role what the role gives, where it gives it, without a touch; and no more when the role is gone', async () => {
    const name = fresh()
    const { connection } = await joined(name)
    const { id } = await give(`workload:${name}`, { kind: 'role', role: 'editor', in: 'payments/prod' })
    const addIn = (label: string, place: string) =>
      outcome(
        call(connection, api.hosts.add, {
          body: bodyOf(api.hosts.add, { name: `${label}.keyman.localhost`, in: place }),
        }),
      )
    expect(await addIn('by-workload', 'payments/prod')).toBe('done')
    expect(await addIn('elsewhere', 'payments/dev')).toBe('denied')
    const added = (await records('host-added')).at(-1)
    expect(added).toMatchObject({
      actor: { kind: 'workload', identity: `workload:${name}` },
      target: 'by-workload.keyman.localhost',
    })
    const { hosts } = await call(connection, api.hosts.list)
    expect(hosts.map(host => host.in)).not.toContain('payments/dev')
    await call(world.alice.connection, api.grants.remove, { params: { id }, query: { wait: 0 } })
    expect(await addIn('no-more', 'payments/prod')).toBe('denied')
  })

  it('takes the join tokens that it made with it when it is ended; while it is there they are good', async () => {
    const name = fresh()
    const { connection } = await joined(name)
    await give(`workload:${name}`, { kind: 'role', role: 'editor', in: 'payments/prod' })
    const tokenOf = async (label: string) => {
      const body = bodyOf(api.hosts.add, { name: `${label}.keyman.localhost`, in: 'payments/prod' })
      return parseJoinToken((await call(connection, api.hosts.add, { body })).token).secret
    }
    const [good, late] = [await tokenOf('made-good'), await tokenOf('made-late')]
    const joinHost = async (token: string) =>
      (await machineCall(world.stranger, 'POST', '/v1/join', { body: await joinBody(world.stranger, token) })).code
    expect(await joinHost(good)).toBe('')
    await call(world.alice.connection, api.workloads.end, { params: { name }, query: { wait: 0 } })
    expect(await joinHost(late)).toBe('denied')
  })

  it('loses a login with a label of the host, which is told as that of a person is', async () => {
    const name = fresh()
    await joined(name)
    await addHost(world, 'labelled.keyman.localhost', { labels: { tier: 'backup' } })
    await give(`workload:${name}`, { login: 'backup', hosts: { labels: { tier: 'backup' } } })
    const changed = await call(world.alice.connection, api.hosts.change, {
      params: { name: 'labelled.keyman.localhost' },
      query: { wait: 0 },
      body: bodyOf(api.hosts.change, { labels: { tier: null } }),
    })
    expect(changed.labels).toEqual({})
  })

  it('has no role by which others are let in', async () => {
    const name = fresh()
    await joined(name)
    const role = async (role: string, where?: string) => {
      const body = { kind: 'role', who: `workload:${name}`, role, in: where }
      return (await machineCall(world.alice.connection, 'POST', '/v1/grants', { body })).code
    }
    expect(await role('administrator')).toBe('invalid-input')
    expect(await role('admin', 'payments')).toBe('invalid-input')
    expect(await role('operator')).toBe('')
  })

  it('is not made under a name that something was given to; nor is anything given to one that is not there', async () => {
    const name = fresh()
    expect(await outcome(give(`workload:${name}`, login))).toBe('not-found')
    await add(name)
    expect(await outcome(give(`workload:${name}`, login))).toBe('done')
    expect(await outcome(add(name))).toBe('conflict')
    const remove = call(world.alice.connection, api.projects.removeEnvironment, {
      params: { project: 'payments', environment: 'prod' },
    })
    expect((await refusal(remove)).message).toContain('not empty')
  })
})
