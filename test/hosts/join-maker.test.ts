import { afterAll, beforeAll, expect, it } from 'vitest'
import { makeLoginKeys } from '#cli/session/keys.ts'
import { hostFact, tokenFact } from '#server/hosts/facts.ts'
import { hashOf } from '#server/hosts/name-host.ts'
import { schemas } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { parseHostName, parsePersonIdentity } from '#shared/names.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'
import { insertPerson, recorded } from '#test/support/worlds/insert-rows.ts'
import { hostsBeside } from './hosts-beside.ts'

/** Whoever added a host, and what befalls them between the look at it and the transaction in which their token is used. */

let server: HostsServer
beforeAll(async () => {
  server = await startHostsServer()
})
afterAll(() => server?.close())

const maker = parsePersonIdentity('mal@example.com', 'test')
const role = () =>
  server.services.access.addGrant(schemas.newGrant.parse({ kind: 'role', who: maker, role: 'operator' }), server.by())

it('a token is not used by a join under way whose maker loses the role meanwhile, or is revoked; where it is another role, it is', async () => {
  const { services } = server
  const { access, authority } = services
  await insertPerson(services, { identity: maker, at: new Date() })
  let meanwhile: () => Promise<unknown> = async () => {}
  const hosts = await hostsBeside(services, {
    checkJoinProof: () => services.requestId(),
    readyToSign: () => meanwhile().then(() => {}),
  })

  const join = async (label: string, during: () => Promise<unknown>) => {
    const name = parseHostName(`${label}.keyman.localhost`, 'name')
    const host = { id: `host_${name}`, name, labels: {}, port: 22 }
    const token = { hash: hashOf(label), host: host.id, endsAt: new Date(Date.now() + 600_000), maker }
    await recorded(services, [hostFact(host), tokenFact(token)], async t => {
      await t.execute(`insert into host (id, name, labels, port, created_at) values ($1, $2, '{}'::jsonb, 22, now())`, [
        host.id,
        name,
      ])
      await t.execute(
        `insert into join_token (hash, host, created_at, ends_at, made_by) values ($1, $2, now(), $3::timestamptz, $4)`,
        [token.hash, token.host, token.endsAt.toISOString(), maker],
      )
    })
    meanwhile = during
    const keys = makeLoginKeys('test')
    const request = {
      token: label,
      clientPublicKey: toBase64(keys.client.spki),
      sshPublicKey: keys.ssh.line,
      proof: { challenge: '', sshSignature: '', clientSignature: '' },
    }
    return hosts.join(request, { requestId: services.requestId(), from: '192.0.2.1' }).then(
      () => 'joined',
      (error: unknown) => String(error),
    )
  }

  const first = await role()
  expect(await join('web1', () => access.removeGrant(first.id, server.by()))).toContain('good no more')
  const second = await role()
  const other = access.addGrant.bind(
    access,
    schemas.newGrant.parse({ kind: 'role', who: maker, role: 'administrator' }),
  )
  expect(
    await join('web2', async () => {
      await other(server.by())
      await access.removeGrant(second.id, server.by())
    }),
  ).toBe('joined')
  expect(await join('web3', () => authority.revoke({ person: maker }, 'test', server.by()))).toContain('good no more')
  expect(await join('web4', async () => {})).toBe('joined')
  const refusals = await services.ledger.list({ limit: 9, kind: 'denied' })
  expect(refusals.map(({ record }) => JSON.parse(record))).toMatchObject([
    { target: 'host.add', decision: 'deny', reason: expect.stringContaining(`${maker} has no role`) },
    { target: 'host.add', decision: 'deny', reason: expect.stringContaining(`all that ${maker} had was ended`) },
  ])
})
