import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { parseCertificate } from '#shared/ssh/index.ts'
import { logIn, pageCall } from '#test/support/people/api-person.ts'
import {
  type AttackWorld,
  bodyOf,
  loginBody,
  machineCall,
  openAttackWorld,
  outcome,
} from '#test/support/worlds/attack-world.ts'

const DAY = 86_400

/** The real server, whose clock jumps; the machine's own goes on as it was. */
describe('a server whose clock jumps by three days', () => {
  let world: AttackWorld
  beforeAll(async () => {
    world = await openAttackWorld()
    const grant = { who: 'bob@example.com', login: 'deploy', hosts: { labels: { env: 'prod' } }, maxLifetime: 3600 }
    await call(world.alice.connection, api.grants.add, { body: bodyOf(api.grants.add, grant) })
  })
  afterAll(() => world?.close())

  const issued = () =>
    call(world.bob.connection, api.ssh.issueUserCertificate, { body: { publicKey: world.bob.keys.ssh.line } })

  it.each([3, -3])(
    '%i days: nothing is issued to a client certificate of another time; back again it is good',
    async days => {
      world.setClock(days * DAY)
      expect(await outcome(issued())).toBe('not-signed-in')
      world.setClock(0)
      const { validAfter, validBefore } = parseCertificate((await issued()).certificate)
      const now = BigInt(Math.floor(Date.now() / 1000))
      expect(validAfter <= now && now < validBefore && validBefore - now <= 3600n).toBe(true)
    },
  )

  it.each([3, -3])(
    '%i days: a challenge of before is refused, as is one of then after it; a fresh one is taken',
    async days => {
      const begin = async (body: unknown) => (await machineCall(world.stranger, 'POST', '/v1/login', { body })).code
      const { body: before } = await loginBody(world.stranger)
      world.setClock(days * DAY)
      expect(await begin(before)).not.toBe('')
      const { body: then } = await loginBody(world.stranger)
      world.setClock(0)
      expect(await begin(then)).not.toBe('')
      const { body: fresh } = await loginBody(world.stranger)
      expect(await begin(fresh)).toBe('')
    },
  )

  it.each([3, -3])('%i days: who was revoked meanwhile stays out, whatever the clock says after', async days => {
    const session = await logIn(world.server, world.bob.person)
    const show = () => outcome(call(session.connection, api.session.show))
    world.setClock(days * DAY)
    await show()
    world.setClock(0)
    expect(await show()).toBe('done')
    await call(session.connection, api.session.end)
    for (const jump of [0, days, 0, -days, 0]) {
      world.setClock(jump * DAY)
      expect(await show(), `${jump} days`).toBe('not-signed-in')
    }
    world.setClock(0)
  })
  it('a limit that is reached stays reached, whatever the day is then; before it is reached codes are looked up', async () => {
    const guess = async () =>
      (await pageCall(world.server, api.login.find, { body: { userCode: 'BCDF-GHJK' } })).problem?.code
    const first = await guess()
    expect(first).toBe('not-found')
    let said = first
    for (let n = 0; n < 12 && said === first; n++) said = await guess()
    expect(said).toBe('too-many-requests')
    for (const days of [3, -3, 0]) {
      world.setClock(days * DAY)
      expect(await guess(), `${days} days`).toBe('too-many-requests')
    }
  })
})
