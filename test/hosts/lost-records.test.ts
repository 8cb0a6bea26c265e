import { afterAll, beforeAll, expect, it } from 'vitest'
import { fromBase64 } from '#shared/bytes.ts'
import { encodeCheckpoint, noteKeyId, parseCheckpoint, signedNote } from '#shared/merkle/index.ts'
import { parseHostName } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { newKey } from '#test/support/trust-world.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'
import { addJoined, spkiOf } from './hosts-beside.ts'

/** A backup was put back, and a host remembers more than it holds. */

const web1 = parseHostName('web1.keyman.localhost', 'name')
const taken = parseHostName('web2.keyman.localhost', 'name')
let server: HostsServer
beforeAll(async () => {
  server = await startHostsServer()
  await addJoined(server.services, [web1, taken])
})
afterAll(() => server?.close())

/** A host that says hello; the stream is open until it is closed. */
async function hello(other: { revision?: number; checkpoint?: string; incarnation?: string }, name = web1) {
  const { hosts, store } = server.services
  await expect.poll(() => hosts.find(name), { timeout: 20_000 }).toBeTruthy()
  let reason = ''
  const connection = hosts.connect(
    { kind: 'host', name, clientSpki: spkiOf(name), clientFingerprint: '', epochs: [] },
    {
      from: '192.0.2.1',
      isThere: async () => false,
      async send() {},
      close: (_, why) => {
        reason = why
      },
      async check() {},
    },
  )
  const { incarnation } = store
  const frame = { type: 'hello', revision: 0, incarnation, agent: 'test', sshd: 'none', ...other }
  await connection.receive(JSON.stringify(frame))
  return { connection, reason: () => reason }
}
const revokeSomeKey = () =>
  server.services.authority.revoke({ publicKey: parsePublicKey(newKey().line) }, 'test', server.by())
async function longer(sign = (data: Uint8Array) => server.services.keystore.sign('log-1', data)): Promise<string> {
  const { trust, ledger } = server.services
  const { logKey } = parseTrustDocument((await trust.bundles()).at(-1)?.document ?? '')
  const { size, root } = parseCheckpoint(await ledger.checkpoint())
  const text = encodeCheckpoint({ origin: logKey.name, size: size + 1000n, root })
  return signedNote(text, { name: logKey.name, keyId: noteKeyId(logKey.name, fromBase64(logKey.key)), sign })
}

it('a host whose agent finds that the log does not extend what it remembers: what it remembers is looked at', async () => {
  const { ledger } = server.services
  const known = await ledger.checkpoint()
  const { connection } = await hello({ checkpoint: known })
  const failed = { type: 'failed', revision: 0, message: 'ALARM: the log does not extend' }
  await connection.receive(JSON.stringify(failed))
  expect(server.said()).toContain('ALARM: the log does not extend')
  // It does, so that was this host's alarm alone.
  await revokeSomeKey()
  connection.closed()
})

it('false tree heads of another history, one after the other, are heard a few times', async () => {
  const checkpoint = await longer(async () => new Uint8Array(64).fill(1))
  const alarms = () => server.said().split("that the log's key has not signed").length - 1
  const before = alarms()
  let last = ''
  for (let n = 0; n < 40; n++) {
    const { reason } = await hello({ incarnation: 'another', checkpoint }, taken)
    last = reason()
  }
  expect(alarms() - before).toBeGreaterThan(0)
  expect(alarms() - before).toBeLessThanOrEqual(25)
  expect(last).toContain('unasked')
})

it('a bare number, or a tree head that the key has not signed, is an alarm and stops nobody', async () => {
  await hello({ revision: 900 })
  expect(server.said()).toContain('has revision 900 in force')
  const { connection } = await hello({ checkpoint: await longer(async () => new Uint8Array(64).fill(1)) })
  await expect.poll(() => server.said()).toContain("that the log's key has not signed")
  await revokeSomeKey()
  server.services.ledger.assertFresh()
  connection.closed()
})

it('a host that shows a longer log, signed by its key, stops all issuing; the alarm says how many records are missing', async () => {
  await revokeSomeKey()
  // With a later revision too: the tree head is looked at all the same.
  await hello({ revision: 900, checkpoint: await longer() })
  expect(server.said()).toMatch(/had \d+ records once, and the database holds \d+: \d+ were lost/)
  await expect(revokeSomeKey()).rejects.toMatchObject({
    code: 'unavailable',
    hint: expect.stringContaining('keyman-server restore'),
  })
  expect(() => server.services.ledger.assertFresh()).toThrow('were lost')
})
