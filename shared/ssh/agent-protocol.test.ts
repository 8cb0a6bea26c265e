import { spawn, spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { concat, toHex, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { agentProtocol, formatPublicKey, privateFields, SshWriter, verifySignature } from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-ssh-agent-'))
const socket = join(folder, 'agent.sock')
const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: ['ignore', 'pipe', 'ignore'] })
// It names its socket once it listens there.
beforeAll(() => once(agent.stdout, 'data'))
afterAll(async () => {
  const gone = once(agent, 'exit')
  agent.kill()
  await gone
  rmSync(folder, { recursive: true, force: true })
})

function ask(message: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const connection = connect(socket)
    let received: Uint8Array = new Uint8Array(0)
    connection.on('error', reject)
    connection.on('data', (chunk: Uint8Array) => {
      received = concat(received, chunk)
      const answer = agentProtocol.unframe(received)
      if (!answer) return
      connection.destroy()
      resolve(answer)
    })
    connection.write(agentProtocol.frame(message))
  })
}
const sshAdd = (...args: string[]) =>
  spawnSync('ssh-add', args, { encoding: 'utf8', env: { PATH: process.env.PATH, SSH_AUTH_SOCK: socket } }).stdout

const newFields = (pair: { readonly privateKey: KeyObject; readonly publicKey: KeyObject }) =>
  privateFields(pair.privateKey, pair.publicKey.export({ format: 'der', type: 'spki' }))
const fields = newFields(generateKeyPairSync('ed25519'))
const { publicKey } = fields
const key = { fields, comment: 'alice@example.com until 18:00', lifetime: 3600 }

describe('a real ssh-agent', () => {
  it('takes a key with a lifetime, lists it, and gives it up again', async () => {
    expect(agentProtocol.decodeIdentitiesAnswer(await ask(agentProtocol.encodeRequestIdentities()))).toEqual([])
    expect(agentProtocol.decodeStatus(await ask(agentProtocol.encodeAddIdentityConstrained(key)))).toBe(true)
    const listed = agentProtocol.decodeIdentitiesAnswer(await ask(agentProtocol.encodeRequestIdentities()))
    expect(listed.map(({ blob, comment }) => [toHex(blob), comment])).toEqual([[toHex(publicKey.blob), key.comment]])
    expect(sshAdd('-L').trim()).toBe(formatPublicKey(publicKey, key.comment))
    expect(agentProtocol.decodeStatus(await ask(agentProtocol.encodeRemoveIdentity(publicKey.blob)))).toBe(true)
    expect(agentProtocol.decodeStatus(await ask(agentProtocol.encodeRemoveIdentity(publicKey.blob)))).toBe(false)
    expect(agentProtocol.decodeIdentitiesAnswer(await ask(agentProtocol.encodeRequestIdentities()))).toEqual([])
  })

  it.each([
    ['P-256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 3072 })],
  ])('takes a key of %s, and signs with it', async (_, make) => {
    const other = newFields(make())
    const add = agentProtocol.encodeAddIdentityConstrained({ ...key, fields: other })
    expect(agentProtocol.decodeStatus(await ask(add))).toBe(true)
    const data = utf8('to be signed')
    const signature = agentProtocol.decodeSignResponse(
      await ask(agentProtocol.encodeSignRequest(other.publicKey, data)),
    )
    expect(verifySignature(other.publicKey, data, signature ?? new Uint8Array())).toBe(true)
    await ask(agentProtocol.encodeRemoveIdentity(other.publicKey.blob))
  })

  it('forgets the key by itself when its lifetime is over', async () => {
    await ask(agentProtocol.encodeAddIdentityConstrained({ ...key, lifetime: 1 }))
    await expect
      .poll(
        async () => agentProtocol.decodeIdentitiesAnswer(await ask(agentProtocol.encodeRequestIdentities())).length,
        {
          timeout: 20_000,
          interval: 200,
        },
      )
      .toBe(0)
  })
})

describe('the encoder', () => {
  it('writes no key without an end, and no lifetime that does not fit', () => {
    for (const lifetime of [0, -1, 1.5, 2 ** 32, Number.NaN])
      expect(() => agentProtocol.encodeAddIdentityConstrained({ ...key, lifetime })).toThrow(RangeError)
    const message = agentProtocol.encodeAddIdentityConstrained(key)
    expect(message[0]).toBe(25)
    expect(toHex(message.subarray(-5))).toBe('0100000e10')
  })
})

describe('the decoder', () => {
  const answer = (count: number, ...rest: Uint8Array[]) =>
    concat(new SshWriter().byte(12).uint32(count).bytes(), ...rest)
  const identity = new SshWriter().string(publicKey.blob).string('c').bytes()
  const read = (message: Uint8Array) => () => agentProtocol.decodeIdentitiesAnswer(message)

  it('refuses more identities than are there, fewer, and a number that nobody has', () => {
    expect(read(answer(1, identity))()).toHaveLength(1)
    for (const bad of [answer(2, identity), answer(0, identity), answer(2 ** 32 - 1), answer(1)])
      expect(read(bad)).toThrow(KeymanError)
  })
  it('refuses a failure in the place of an answer, and an empty message', () => {
    for (const bad of [Uint8Array.of(5), Uint8Array.of(6), new Uint8Array(0)]) expect(read(bad)).toThrow(KeymanError)
  })
  it('takes success alone for success', () => {
    expect(agentProtocol.decodeStatus(Uint8Array.of(6))).toBe(true)
    for (const bad of [[], [5], [28], [6, 6], [12]])
      expect(agentProtocol.decodeStatus(Uint8Array.from(bad))).toBe(false)
  })
  it('waits for a whole message, gives exactly it, and refuses one of a length that nobody sends', () => {
    const whole = agentProtocol.frame(utf8('hello'))
    for (let length = 0; length < whole.length; length++)
      expect(agentProtocol.unframe(whole.subarray(0, length))).toBeUndefined()
    expect(agentProtocol.unframe(concat(whole, utf8('next')))).toEqual(utf8('hello'))
    expect(() => agentProtocol.unframe(Uint8Array.of(0xff, 0xff, 0xff, 0xff))).toThrow(KeymanError)
  })
})
