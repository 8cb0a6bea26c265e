import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api, schemas } from '#shared/api/index.ts'
import { parseCertificate, parsePublicKey, verifyCertificate } from '#shared/ssh/index.ts'
import { parseTrustDocument, type TrustBundle } from '#shared/trust/index.ts'
import { type ApiSession, enrol, logIn, machinesConnection } from '#test/support/people/api-person.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type RenewingMachine, renewingMachine } from '#test/support/programs/renewing-machine.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { initToken, type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { newSshd, newUnixUser, ownLogin, ssh, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, requires } from '#test/support/requires.ts'
import { hostCertificateOf, joinHost } from '#test/support/worlds/attack-world.ts'

const SECOND_PIN = '30508172'

describe.skipIf(!requires('softhsm', 'sshd'))('an HSM that is lost while certificates are asked for', () => {
  let hsm: SoftHsm
  let firstToken: string
  let server: ServerProcess
  let session: ApiSession
  let machines: RenewingMachine[] = []
  let sshd: TestSshd
  let user: ReturnType<typeof newUnixUser> | undefined
  let before: TrustBundle
  beforeAll(async () => {
    hsm = await startSoftHsm('first')
    const [folder] = readdirSync(join(hsm.folder, 'tokens'))
    firstToken = join(hsm.folder, 'tokens', folder ?? '')
    await initToken(hsm.module, 'second', SECOND_PIN)
    const keystore = (at: string, token: string, pin: string) => ({
      [`${at}_KIND`]: 'pkcs11',
      [`${at}_MODULE`]: hsm.module,
      [`${at}_TOKEN`]: token,
      [`${at}_PIN`]: pin,
    })
    server = await startServerProcess({
      env: {
        ...hsm.env,
        ...keystore('KEYMAN_KEYSTORE', 'first', hsm.pin),
        ...keystore('KEYMAN_KEYSTORE_STANDBY', 'second', SECOND_PIN),
        KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '100000',
        KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000',
        KEYMAN_LIMITS_CALLERS_PER_MINUTE: '1000000',
      },
    })
    session = await logIn(server, await enrol(server, server.ownerLink(), 'alice@example.com'))
    user = isRoot ? newUnixUser() : undefined
    const login = user?.name ?? ownLogin()
    await call(session.connection, api.grants.add, {
      body: schemas.newGrant.parse({ who: 'alice@example.com', login, hosts: { labels: { env: 'prod' } } }),
    })
    session = await logIn(server, session.person)
    machines = [session, session, session].map(renewingMachine)
    before = await bundle()
    // What a host has in force before anything happens, and nobody changes it from here on.
    sshd = await newSshd(at => [`TrustedUserCAKeys ${at}/user_ca.pub`, `AuthorizedPrincipalsFile ${at}/principals`])
    writeFileSync(join(sshd.folder, 'user_ca.pub'), before.ssh.userAuthorities.map(({ key }) => `${key}\n`).join(''))
    writeFileSync(join(sshd.folder, 'principals'), 'alice@example.com\n')
    await sshd.start()
  }, 120_000)
  afterAll(async () => {
    for (const machine of machines) machine.close()
    await sshd?.close()
    user?.remove()
    await server?.close()
    await hsm?.close()
  })

  const bundle = async () => {
    const { bundles } = await call({ url: server.machinesUrl, root: undefined }, api.trust.show)
    return parseTrustDocument(bundles.at(-1)?.document ?? '')
  }
  const letsIn = async (certificate: string) => {
    const key = { ...session.keys.ssh, privateKey: session.keys.ssh.privateKey }
    const { code, err } = await ssh(sshd, user?.name ?? ownLogin(), { key, certificate }, 'true')
    return code === 0 ? 'in' : err
  }
  /** By which of the authorities that were trusted before. */
  const signedBy = (certificate: string) => {
    const keys = before.ssh.userAuthorities.map(({ key }) => parsePublicKey(key))
    return keys.findIndex(key => verifyCertificate(parseCertificate(certificate), [key]))
  }
  const command = (...args: string[]) =>
    spawnSync(process.execPath, [SERVER, 'authority', ...args], { env: server.env, encoding: 'utf8' })

  it('refuses while it is away, issues again with the standby keys after one command, and hosts take both', async () => {
    const [machine] = machines
    if (!machine) throw new Error('a machine')
    const old = await machine.renew()
    if (old.kind !== 'certificate') throw new Error(JSON.stringify(old))
    expect([signedBy(old.certificate), await letsIn(old.certificate)]).toEqual([0, 'in'])

    const outcomes: { at: number; kind: string; by: number }[] = []
    let goesOn = true
    const load = machines.map(async each => {
      while (goesOn) {
        const said = await each.renew()
        const by = said.kind === 'certificate' ? signedBy(said.certificate) : -1
        outcomes.push({ at: performance.now(), kind: said.kind === 'refused' ? `${said.status}` : said.kind, by })
      }
    })
    const since = (at: number) => [
      ...new Set(outcomes.filter(one => one.at > at).map(({ kind, by }) => `${kind} ${by}`)),
    ]
    let [switched, settled] = [0, 0]
    try {
      await expect.poll(() => outcomes.length).toBeGreaterThan(30)
      renameSync(firstToken, `${hsm.folder}/lost`)
      const lost = performance.now()
      await expect.poll(() => since(lost)).toContain('503 -1')

      const planned = command('switch-to-standby')
      expect(planned.status).toBe(2)
      expect(planned.stderr).toContain('ssh-user-1 -> ssh-user-2')
      expect(planned.stderr).toContain('nobody can be asked here')
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        [SERVER, 'authority', 'switch-to-standby', '--yes'],
        { env: server.env },
      )
      switched = performance.now()
      expect(stdout).toBe('ssh-user-2 ssh-host-2 machines-2\n')
      expect(stderr).toContain('It was recorded in the audit log')
      await expect.poll(() => since(switched).includes('certificate 1')).toBe(true)
      settled = performance.now()
      await expect.poll(() => outcomes.filter(({ at }) => at > settled).length).toBeGreaterThan(100)
    } finally {
      goesOn = false
      await Promise.all(load)
    }
    expect(since(settled)).toEqual(['certificate 1'])
    // Nothing was signed by the lost keys once the others did.
    expect(since(switched)).not.toContain('certificate 0')

    const fresh = await machine.renew()
    if (fresh.kind !== 'certificate') throw new Error(JSON.stringify(fresh))
    expect([await letsIn(fresh.certificate), await letsIn(old.certificate)]).toEqual(['in', 'in'])
    expect(server.output()).toContain('ALARM')
  }, 90_000)

  it('is named by the next trust bundle; logins, hosts and their certificates go on, too', async () => {
    const after = await bundle()
    expect(after.version).toBe(before.version + 1)
    for (const keys of [after.ssh.userAuthorities, after.ssh.hostAuthorities, after.x509])
      expect(keys.map(({ state }) => state)).toEqual(['retired', 'active'])
    expect(after.ssh.userAuthorities.map(({ key }) => key)).toEqual(before.ssh.userAuthorities.map(({ key }) => key))
    const again = await logIn(server, session.person)
    expect(signedBy(again.login.ssh?.certificate ?? '')).toBe(1)
    const stranger = await machinesConnection(server)
    const host = await joinHost({ alice: again, stranger }, 'web1.keyman.localhost')
    const { certificate } = await hostCertificateOf(host)
    const [, standby] = before.ssh.hostAuthorities.map(({ key }) => parsePublicKey(key))
    expect(standby && verifyCertificate(parseCertificate(certificate), [standby])).toBe(true)
  })

  it('has left nothing to switch to: the command says so, and changes nothing', async () => {
    const { status, stderr } = command('switch-to-standby', '--yes')
    expect(stderr).toContain('there is no standby key for ssh-user')
    expect(status).toBe(7)
    expect((await bundle()).version).toBe(before.version + 1)
  })

  it('authority list shows what the keystores that are there hold, and which is not there', () => {
    const { status, stdout, stderr } = command('list')
    expect(stdout).toMatch(/^machines-2 +machines +active/m)
    expect(stdout).not.toContain('ssh-user-1')
    expect(stderr).toContain('no token with the label first')
    expect(status).toBe(1)
  })
})
