import { spawnSync } from 'node:child_process'
import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api, schemas } from '#shared/api/index.ts'
import { toBase64, toHex } from '#shared/bytes.ts'
import { noteKeyId, parseCheckpoint } from '#shared/merkle/index.ts'
import { parseCertificate, parsePublicKey, parseSshsig, verifyCertificate } from '#shared/ssh/index.ts'
import { logKeysOf, parseTrustDocument } from '#shared/trust/index.ts'
import { type ApiSession, enrol, logIn, machinesConnection, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type RenewingMachine, renewingMachine } from '#test/support/programs/renewing-machine.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { initToken, type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { requires } from '#test/support/requires.ts'
import { bodyOf, type JoinedHost, joinHost, newKeys } from '#test/support/worlds/attack-world.ts'
import { RememberingHost } from '#test/support/worlds/remembering-host.ts'

const PINS = { second: '30508172', third: '71284033' }

describe.skipIf(!requires('softhsm'))('of two HSMs the first is lost for good', () => {
  let hsm: SoftHsm
  let server: ServerProcess
  let laptop: Laptop
  let session: ApiSession
  let machine: RenewingMachine
  let joined: JoinedHost
  let host: RememberingHost
  const keystore = (at: string, token: string, pin: string) => ({
    [`${at}_KIND`]: 'pkcs11',
    [`${at}_MODULE`]: hsm.module,
    [`${at}_TOKEN`]: token,
    [`${at}_PIN`]: pin,
  })
  const folders = new Map<string, string>()
  /** Which folder is new. */
  const noteToken = (token: string) => {
    const known = [...folders.values()]
    const folder = readdirSync(join(hsm.folder, 'tokens')).find(name => !known.includes(name))
    folders.set(token, folder ?? '')
  }
  const lose = (token: string) =>
    renameSync(join(hsm.folder, 'tokens', folders.get(token) ?? ''), join(hsm.folder, `lost-${token}`))

  beforeAll(async () => {
    hsm = await startSoftHsm('first')
    noteToken('first')
    await initToken(hsm.module, 'second', PINS.second)
    noteToken('second')
    server = await startServerProcess({
      env: {
        ...hsm.env,
        ...keystore('KEYMAN_KEYSTORE', 'first', hsm.pin),
        ...keystore('KEYMAN_KEYSTORE_STANDBY', 'second', PINS.second),
        KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '100000',
        KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000',
        KEYMAN_LIMITS_CALLERS_PER_MINUTE: '1000000',
      },
    })
    const alice = await enrol(server, server.ownerLink(), 'alice@example.com')
    session = await logIn(server, alice)
    await call(session.connection, api.grants.add, {
      body: schemas.newGrant.parse({ who: 'alice@example.com', login: 'deploy', hosts: { labels: { env: 'prod' } } }),
    })
    session = await logIn(server, alice)
    machine = renewingMachine(session)
    laptop = await openLaptop(server.folder, server.env, { agent: false })
    const signedIn = await laptop.keyman(['login', '--yes', '--ssh-config', 'no', '--for', '8h'], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { options } = await page(server, api.login.consentOptions, { params })
      const body = { assertion: alice.authenticator.get(options) }
      await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
    })
    expect(signedIn.code, signedIn.stderr).toBe(0)
    joined = await joinHost({ alice: session, stranger: await machinesConnection(server) }, 'web1.keyman.localhost')
    const signed = await newestBundle()
    host = new RememberingHost(joined, signed, parseTrustDocument(signed.document).incarnation)
    await host.comeBack()
  }, 300_000)
  afterAll(async () => {
    machine?.close()
    await laptop?.close()
    await server?.close()
    await hsm?.close()
  })

  const newestBundle = async () => {
    const { bundles } = await call({ url: server.machinesUrl, root: undefined }, api.trust.show)
    const newest = bundles.at(-1)
    if (!newest) throw new Error('a bundle')
    return newest
  }
  const bundle = async () => parseTrustDocument((await newestBundle()).document)
  const command = (...args: string[]) =>
    spawnSync(process.execPath, [SERVER, 'authority', ...args], { env: server.env, encoding: 'utf8' })
  const revokes = async () => {
    const key = newKeys().ssh.line
    await call(session.connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target: { publicKey: key }, wait: 0 }),
    })
    await host.comeBack()
    return host.refusesKey(key)
  }
  /** Which of the log keys that the bundle names have signed the host's list and the head that it remembers, by their places. */
  const signedBy = async () => {
    const trusted = await bundle()
    const keys = logKeysOf(trusted)
    const list = parseSshsig(host.sent?.krl.signature ?? '').publicKey.blob.slice(-32)
    const { signatures } = parseCheckpoint(host.memory.checkpoint ?? '')
    const ids = keys.map(key => toHex(noteKeyId(trusted.logKey.name, key)))
    return {
      list: keys.map(toBase64).indexOf(toBase64(list)),
      head: signatures.map(({ keyId }) => ids.indexOf(toHex(keyId))),
    }
  }
  const audit = async () => {
    const { code, stdout, stderr } = await laptop.keyman(['audit', 'verify', '--state'])
    return { code, said: stdout + stderr }
  }
  const whole = { code: 0, said: expect.stringContaining('is whole and continues what this machine remembered') }
  /** By which of the user authorities in the bundle. */
  const issues = async () => {
    const said = await machine.renew()
    if (said.kind !== 'certificate') return JSON.stringify(said)
    const keys = (await bundle()).ssh.userAuthorities.map(({ key }) => parsePublicKey(key))
    return keys.findIndex(key => verifyCertificate(parseCertificate(said.certificate), [key]))
  }
  const isReady = async () => (await fetch(`${server.pagesUrl}/readyz`)).status

  it('before that the bundle names the log keys of both, and the first signs', async () => {
    expect(logKeysOf(await bundle())).toHaveLength(2)
    expect(await revokes()).toBe(true)
    expect(await signedBy()).toEqual({ list: 0, head: [0] })
    expect(await audit()).toEqual(whole)
    expect([await issues(), await isReady()]).toEqual([0, 200])
  })

  it('what is revoked under load is on the list of hosts at once, by the other log key, which they believe; the log goes on', async () => {
    let goesOn = true
    let refused = 0
    const machines = [session, session, session].map(renewingMachine)
    const load = machines.map(async each => {
      while (goesOn) if ((await each.renew()).kind === 'refused') refused++
    })
    try {
      lose('first')
      expect(await revokes()).toBe(true)
      await expect.poll(() => refused, { timeout: 60_000 }).toBeGreaterThan(0)
      expect(await revokes()).toBe(true)
    } finally {
      goesOn = false
      await Promise.all(load)
      for (const each of machines) each.close()
    }
    // A head is signed once a second at most: that of before the loss may be the newest still.
    const nextHead = async () => ((await revokes()) ? signedBy() : undefined)
    await expect.poll(nextHead, { timeout: 30_000 }).toEqual({ list: 1, head: [1] })
    expect(await audit()).toEqual(whole)
    expect(server.output().match(/the log key in keystore does not sign/g)).toHaveLength(1)
  }, 300_000)

  it('a start is refused before the switch, which works without a server; after it certificates and lists are signed', async () => {
    expect(await server.stop()).toBe(0)
    await expect(server.restart()).rejects.toThrow(
      /keystore is away, and the key ssh-user-1.*keyman-server authority switch-to-standby/s,
    )
    const planned = command('switch-to-standby')
    expect([planned.status, planned.stderr]).toEqual([2, expect.stringContaining('ssh-user-1 -> ssh-user-2')])
    await expect(server.restart()).rejects.toThrow(/keystore is away/)
    const { status, stdout, stderr } = command('switch-to-standby', '--yes')
    expect([status, stdout], stderr).toEqual([0, 'ssh-user-2 ssh-host-2 machines-2\n'])
    await server.restart()
    expect(server.output()).toMatch(/keystore does not answer: .*no token with the label first/)
    expect([await issues(), await isReady()]).toEqual([1, 200])
    expect(await revokes()).toBe(true)
    expect(await signedBy()).toEqual({ list: 1, head: [1] })
    expect(await audit()).toEqual(whole)
  }, 300_000)

  it('the second is the only one from then on; old heads and lists stay good', async () => {
    await server.stop()
    for (const name of Object.keys(server.env)) if (name.startsWith('KEYMAN_KEYSTORE_STANDBY')) delete server.env[name]
    Object.assign(server.env, keystore('KEYMAN_KEYSTORE', 'second', PINS.second))
    await server.restart()
    expect(logKeysOf(await bundle())).toHaveLength(2)
    expect([await issues(), await revokes()]).toEqual([1, true])
    expect(await audit()).toEqual(whole)
  }, 300_000)

  it('a new one beside it gets standby keys, a log key and the secrets, and then the second may be lost as well', async () => {
    await server.stop()
    await initToken(hsm.module, 'third', PINS.third)
    noteToken('third')
    Object.assign(server.env, keystore('KEYMAN_KEYSTORE_STANDBY', 'third', PINS.third))
    await server.restart()
    await host.comeBack()
    expect(logKeysOf(await bundle())).toHaveLength(3)
    // As an agent and a laptop follow the bundle.
    const { root = '' } = await machinesConnection(server)
    session = { ...session, connection: { ...session.connection, root } }
    machine.close()
    machine = renewingMachine(session)
    const { memory } = host
    const signed = await newestBundle()
    host = new RememberingHost({ ...joined, connection: { ...joined.connection, root } }, signed, memory.incarnation)
    host.memory = memory
    expect((await laptop.keyman(['trust', 'show'])).stdout.match(/log key/g)).toHaveLength(3)
    expect(command('list').stdout).toMatch(/^log-1 +log +trusted +SHA256:\S+ keystore\.standby/m)
    await server.stop()
    lose('second')
    expect(command('switch-to-standby', '--yes').stdout).toBe('ssh-user-3 ssh-host-3 machines-3\n')
    await server.restart()
    expect([await issues(), await revokes()]).toEqual([2, true])
    expect(await signedBy()).toEqual({ list: 2, head: [2] })
    expect(await audit()).toEqual(whole)
  }, 300_000)
})
