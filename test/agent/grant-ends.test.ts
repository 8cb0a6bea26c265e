import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { formatPrincipalsFile } from '#agent/sshd/principals-file.ts'
import { parseCertificate } from '#shared/ssh/index.ts'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { newSshd, newUnixUser, ownLogin, ssh, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, requires } from '#test/support/requires.ts'
import { newKey, newWorld } from '#test/support/trust-world.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

const alice = {
  principal: 'alice@example.com',
  pty: true,
  portForwarding: true,
  agentForwarding: false,
  x11Forwarding: false,
}
/** As this machine's zone has it: `process.env.TZ`. */
const lineFor = (at: number) => formatPrincipalsFile([{ ...alice, expiresAt: new Date(at).toISOString() }], 'local')
const nameOf = (at: number): string => /expiry-time="([0-9]{14})"/.exec(lineFor(at))?.[1] ?? ''

const zoneBefore = process.env.TZ
afterEach(() => {
  if (zoneBefore === undefined) delete process.env.TZ
  else process.env.TZ = zoneBefore
})

/** Without them every zone is UTC to OpenSSH. */
const hasZones = existsSync('/usr/share/zoneinfo/Europe/Berlin')

describe.skipIf(!hasZones)('the end of a grant, as OpenSSH reads it without a Z', () => {
  let keygen: SshKeygen
  beforeAll(() => {
    keygen = new SshKeygen()
    for (const name of ['ca', 'key']) keygen.run(['-q', '-t', 'ed25519', '-N', '', '-f', name])
  })
  afterAll(() => keygen?.remove())

  /** What OpenSSH's parser of times, which ssh-keygen and sshd share, makes of it. */
  const read = (name: string, zone: string): number => {
    keygen.run(['-q', '-s', 'ca', '-I', 'x', '-n', 'x', '-V', `19800101000000:${name}`, 'key.pub'], '', zone)
    return Number(parseCertificate(keygen.readText('key-cert.pub').trim(), 'certificate').validBefore) * 1000
  }

  /** Both changes of a year, where the zone has them, to the half hour. */
  const changes = (year: number): number[] => {
    const found: number[] = []
    for (let at = Date.UTC(year, 0, 1); at < Date.UTC(year + 1, 0, 1); at += HOUR / 2)
      if (new Date(at).getTimezoneOffset() !== new Date(at - HOUR / 2).getTimezoneOffset()) found.push(at)
    return found
  }

  it.each([
    ['UTC', 0],
    ['Asia/Kolkata', 0],
    ['Europe/Berlin', 2],
    ['America/New_York', 2],
    ['America/Santiago', 2],
    ['Australia/Sydney', 2],
    ['Australia/Lord_Howe', 2],
  ])('is the same moment in %s, in winter, in summer and on both sides of both changes', (zone, count) => {
    process.env.TZ = zone
    const around = changes(2027)
    expect(around).toHaveLength(count)
    const moments = [Date.UTC(2027, 0, 15, 12), Date.UTC(2027, 6, 15, 12)]
    for (const change of around)
      for (const before of [-DAY, -HOUR, -HOUR / 2, -1000, 0, 1000, HOUR / 2, HOUR, DAY]) moments.push(change + before)
    for (const at of moments) expect(new Date(read(nameOf(at), zone))).toEqual(new Date(at))
  })

  it.each(['Europe/Dublin', 'Africa/Casablanca'])('is never later in %s, which calls its summer the standard', zone => {
    process.env.TZ = zone
    for (let at = Date.UTC(2027, 0, 1, 12); at < Date.UTC(2028, 0, 1); at += 10 * DAY) {
      expect(read(nameOf(at), zone)).toBeLessThanOrEqual(at)
      expect(read(nameOf(at), zone)).toBeGreaterThanOrEqual(at - HOUR)
    }
  })
})

describe.skipIf(!hasZones || !requires('sshd'))('the end of a grant in a real sshd whose zone has summer now', () => {
  const world = newWorld()
  const key = newKey()
  const identity = { key, certificate: world.userCertificate(key.publicKey, [alice.principal], 5n) }
  /** At any time of the year it is summer in one of these. */
  const summery = () =>
    ['Europe/Berlin', 'America/Santiago'].find(zone => {
      process.env.TZ = zone
      const now = new Date()
      const offsets = [0, 6].map(month => new Date(now.getFullYear(), month, 1).getTimezoneOffset())
      return now.getTimezoneOffset() < Math.max(...offsets)
    })
  let sshd: TestSshd
  let principals: string
  let user: ReturnType<typeof newUnixUser> | undefined
  let login: string

  beforeAll(async () => {
    user = isRoot ? newUnixUser() : undefined
    login = user?.name ?? ownLogin()
    sshd = await newSshd(folder => [
      `TrustedUserCAKeys ${folder}/user_ca.pub`,
      `AuthorizedPrincipalsFile ${folder}/principals/%u`,
    ])
    writeFileSync(join(sshd.folder, 'user_ca.pub'), `${world.userAuthority.line}\n`)
    mkdirSync(join(sshd.folder, 'principals'), { mode: 0o755 })
    principals = join(sshd.folder, 'principals', login)
    await sshd.start({ ...process.env, TZ: summery() })
  })
  afterAll(async () => {
    await sshd?.close()
    user?.remove()
  })

  it('lets nobody in once it is past, and until then does', async () => {
    process.env.TZ = summery()
    writeFileSync(principals, lineFor(Date.now() - 60_000))
    expect((await ssh(sshd, login, identity, 'true')).code).toBe(255)
    writeFileSync(principals, lineFor(Date.now() + 5 * 60_000))
    expect((await ssh(sshd, login, identity, 'true')).code).toBe(0)
  })
})
