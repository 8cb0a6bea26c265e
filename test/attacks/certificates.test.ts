import { generateKeyPairSync, sign } from 'node:crypto'
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { type LoginKeys, privateKeyFile, proveBoth } from '#cli/session/keys.ts'
import { api } from '#shared/api/index.ts'
import { concat, fromBase64, fromBase64Url, toBase64, utf8 } from '#shared/bytes.ts'
import { PROOF_NAMESPACE, proofMessage } from '#shared/login-challenge.ts'
import {
  armorSshsig,
  encodeSshsig,
  formatPublicKey,
  parseCertificate,
  type SshPublicKey,
  SshWriter,
  sshsigSignedData,
} from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import { newKey, rsaBlob } from '#test/support/programs/ssh-keys.ts'
import { newSshd, newUnixUser, ownLogin, ssh, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, requires } from '#test/support/requires.ts'
import {
  type AttackWorld,
  answerOf,
  bodyOf,
  type JoinedHost,
  joinHost,
  loginBody,
  machineCall,
  newKeys,
  openAttackWorld,
  outcome,
} from '#test/support/worlds/attack-world.ts'

const real = requires('sshd', 'ssh')
let world: AttackWorld
let host: JoinedHost

beforeAll(async () => {
  world = await openAttackWorld({ demo: real })
  host = await joinHost(world, 'web1.keyman.localhost')
  await grant({ who: 'bob@example.com', login: 'deploy', hosts: { host: host.name }, maxLifetime: 1800 })
})
afterAll(() => world?.close())
afterEach(() => world.setClock(0))

const grant = (body: Record<string, unknown>) =>
  call(world.alice.connection, api.grants.add, { body: bodyOf(api.grants.add, body) })
const certify = (more: Record<string, unknown> = {}) =>
  machineCall(world.bob.connection, 'POST', '/v1/ssh/user-certificates', {
    body: { publicKey: world.bob.keys.ssh.line, ...more },
  })
const certificateOf = (answer: { body: unknown }) => {
  const { certificate } = answerOf(api.ssh.issueUserCertificate, answer)
  return { line: certificate, ...parseCertificate(certificate) }
}
const seconds = () => BigInt(Math.floor(Date.now() / 1000))

describe('a request that asks for more than allowed', () => {
  it('in time gets what the grant gives and not a second more; one that asks for less gets less', async () => {
    const more = certificateOf(await certify({ lifetime: 7 * 86_400 }))
    expect(more.validBefore - seconds()).toBeLessThanOrEqual(1800n)
    const less = certificateOf(await certify({ lifetime: 60 }))
    expect(less.validBefore - seconds()).toBeLessThanOrEqual(60n)
    expect(seconds() - less.validAfter).toBeLessThanOrEqual(300n)
  })
  it('in a lifetime that is no time at all is refused', async () => {
    for (const lifetime of [0, -1, 1.5, 1e18, '60', null])
      expect((await certify({ lifetime })).code).toBe('invalid-input')
  })
  it.each([
    ['principals', ['alice@example.com']],
    ['extensions', { 'permit-agent-forwarding': '' }],
    ['criticalOptions', {}],
    ['keyId', 'alice@example.com'],
    ['serial', '1'],
    ['type', 'host'],
    ['validBefore', '18446744073709551615'],
  ])('in %s is refused: a request names none', async (field, value) => {
    expect((await certify({ [field]: value })).code).toBe('invalid-input')
    const { principals, extensions, keyId, serial } = certificateOf(await certify())
    expect(principals).toEqual(['bob@example.com'])
    expect(Object.keys(extensions)).not.toContain('permit-agent-forwarding')
    expect(keyId).toMatch(/^bob@example\.com\/passkey\/session_/)
    expect(serial).toBeGreaterThan(0n)
  })
  it('after the session has ended gets nothing', async () => {
    const short = await logIn(world.server, world.bob.person, { lifetime: 600 })
    const own = () =>
      outcome(call(short.connection, api.ssh.issueUserCertificate, { body: { publicKey: short.keys.ssh.line } }))
    expect(await own()).toBe('done')
    world.setClock(601)
    expect(await own()).toBe('not-signed-in')
    world.setClock(0)
  })
})

/** A login with any SSH key at all, proven by `sign`. */
async function loginWith(
  line: string,
  blob: Uint8Array,
  publicKey: SshPublicKey,
  signer: (data: Uint8Array) => Uint8Array,
) {
  const { body, keys, challenge } = await loginBody(world.stranger)
  const message = proofMessage({
    purpose: 'login',
    challenge: fromBase64Url(challenge),
    sshPublicKey: blob,
    clientSpki: keys.client.spki,
  })
  const signature = signer(sshsigSignedData(PROOF_NAMESPACE, message))
  const proof = {
    challenge,
    sshSignature: armorSshsig(encodeSshsig({ publicKey, namespace: PROOF_NAMESPACE, signature })),
    clientSignature: toBase64(sign('sha256', message, { key: keys.client.privateKey, dsaEncoding: 'ieee-p1363' })),
  }
  return machineCall(world.stranger, 'POST', '/v1/login', { body: { ...body, sshPublicKey: line, proof } })
}
/** Only the line is wrong; the proof is that of the key which it was. */
async function loginWithLine(change: (keys: LoginKeys) => string) {
  const { body, keys } = await loginBody(world.stranger)
  return machineCall(world.stranger, 'POST', '/v1/login', { body: { ...body, sshPublicKey: change(keys) } })
}
const refusedKey = { code: 'invalid-input', body: { fields: [{ field: 'sshPublicKey' }] } }
const line = (blob: Uint8Array, type = 'ssh-ed25519') => `${type} ${toBase64(blob)}`

describe('a key to be certified', () => {
  it('of RSA with an ssh-rsa (SHA-1) signature: refused; with SHA-512 taken', async () => {
    const { blob, privateKey } = rsaBlob(3072)
    const key = newKey('ssh-rsa').publicKey
    const publicKey = { ...key, blob }
    const signer = (algorithm: string, hash: string) => (data: Uint8Array) =>
      new SshWriter()
        .string(algorithm)
        .string(new Uint8Array(sign(hash, data, privateKey)))
        .bytes()
    const asked = (algorithm: string, hash: string) =>
      loginWith(line(blob, 'ssh-rsa'), blob, publicKey, signer(algorithm, hash))
    expect((await asked('ssh-rsa', 'sha1')).code).toMatch(/^(denied|invalid-input)$/)
    expect((await asked('rsa-sha2-512', 'sha512')).status).toBe(201)
  })
  it('of RSA below 3072 bits, or of DSA: refused, and the field is named', async () => {
    const { blob } = rsaBlob(2048)
    expect(await loginWithLine(() => line(blob, 'ssh-rsa'))).toMatchObject(refusedKey)
    const dsa = new SshWriter().string('ssh-dss')
    for (let i = 0; i < 4; i++) dsa.mpint(new Uint8Array(128).fill(0x7f))
    expect(await loginWithLine(() => line(dsa.bytes(), 'ssh-dss'))).toMatchObject(refusedKey)
    expect((await loginWithLine(keys => keys.ssh.line)).status).toBe(201)
  })
  it('that is a certificate: refused, at login and at renewal', async () => {
    const { line: certificate, subjectKey } = certificateOf(await certify())
    expect(await loginWithLine(() => certificate)).toMatchObject(refusedKey)
    expect((await certify({ publicKey: certificate })).code).toBe('invalid-input')
    expect((await certify({ publicKey: formatPublicKey(subjectKey) })).status).toBe(200)
  })
  it('that is a private key, pasted: refused, and never repeated', async () => {
    const pasted = privateKeyFile(newKeys())
    const answer = await loginWithLine(() => pasted)
    expect(answer).toMatchObject(refusedKey)
    expect(answer.text).toContain('private key')
    for (const part of pasted.split('\n').slice(1, -2)) expect(answer.text).not.toContain(part)
    expect(world.server.output()).not.toContain(pasted.split('\n')[2])
  })
  it('with nested or truncated lengths, or bytes after its end: refused', async () => {
    const spoilt: readonly ((blob: Uint8Array) => Uint8Array)[] = [
      blob => concat(blob, Uint8Array.of(0)),
      blob => concat(blob, blob),
      blob => blob.subarray(0, -1),
      blob => blob.with(3, 0xff),
      blob => blob.with(0, 0xff),
      blob => blob.with(18, 31),
      blob => new SshWriter().string('ssh-ed25519').string(new SshWriter().string(blob).bytes()).bytes(),
      blob => new SshWriter().string(blob).bytes(),
    ]
    for (const change of spoilt)
      expect(await loginWithLine(keys => line(change(keys.ssh.publicKey.blob)))).toMatchObject(refusedKey)
    expect((await loginWithLine(keys => line(keys.ssh.publicKey.blob))).status).toBe(201)
  })
  it('with a second line, a control character or escape sequence: refused', async () => {
    for (const more of ['\nssh-ed25519 AAAA', ' comment\u001b[31m', ' a\u0001b', '\r\n\r\n'])
      expect(await loginWithLine(keys => `${keys.ssh.line}${more}`)).toMatchObject(refusedKey)
  })
})

describe('a proof of possession', () => {
  const login = (body: unknown) => machineCall(world.stranger, 'POST', '/v1/login', { body })

  it('in a request that is replayed: refused', async () => {
    const { body } = await loginBody(world.stranger)
    expect((await login(body)).status).toBe(201)
    expect((await login(body)).code).toBe('expired')
    expect((await login({ ...body, device: 'another', flow: { kind: 'device' } })).code).toBe('expired')
  })
  it('made for another request, purpose or namespace: refused', async () => {
    const { body, keys, challenge } = await loginBody(world.stranger)
    const other = await loginBody(world.stranger)
    expect((await login({ ...body, proof: other.body.proof })).code).toBe('denied')
    for (const purpose of ['join', 'host-key'] as const)
      expect((await login({ ...body, proof: proveBoth(keys, purpose, challenge) })).code).toBe('denied')
    const { publicKey, privateKey } = keys.ssh
    const message = proofMessage({
      purpose: 'login',
      challenge: fromBase64Url(challenge),
      sshPublicKey: publicKey.blob,
      clientSpki: keys.client.spki,
    })
    const inNamespace = (namespace: string) => {
      const raw = new Uint8Array(sign(null, sshsigSignedData(namespace, message), privateKey))
      const signature = new SshWriter().string('ssh-ed25519').string(raw).bytes()
      return armorSshsig(encodeSshsig({ publicKey, namespace, signature }))
    }
    for (const namespace of ['file', 'git', 'keyman-trust', 'keyman-krl'])
      expect((await login({ ...body, proof: { ...body.proof, sshSignature: inNamespace(namespace) } })).code).toBe(
        'denied',
      )
    expect(
      (await login({ ...body, proof: { ...body.proof, sshSignature: inNamespace(PROOF_NAMESPACE) } })).status,
    ).toBe(201)
  })
  it('with a challenge that is forged, changed or two minutes old: refused', async () => {
    const { body, keys, challenge } = await loginBody(world.stranger)
    const bytes = fromBase64Url(challenge)
    for (const forged of [
      new Uint8Array(56),
      bytes.with(0, 0xff),
      bytes.with(55, (bytes.at(55) ?? 0) ^ 1),
      utf8('short'),
    ]) {
      const proof = proveBoth(keys, 'login', forged.toBase64({ alphabet: 'base64url', omitPadding: true }))
      expect((await login({ ...body, proof })).code).toBe('expired')
    }
    world.setClock(121)
    expect((await login(body)).code).toBe('expired')
    world.setClock(0)
    expect((await login(body)).status).toBe(201)
  })
})

describe('a host key offered as user key', () => {
  it("gets nothing by the host's client certificate, nor by a proof that was made for its host certificate", async () => {
    const { challenge } = await call(world.stranger, api.login.challenge)
    const own = proveBoth(host.keys, 'host-key', challenge)
    const { body } = await loginBody(world.stranger, 'loopback', host.keys)
    expect((await machineCall(world.stranger, 'POST', '/v1/login', { body: { ...body, proof: own } })).code).toBe(
      'denied',
    )
    const asHost = { body: { publicKey: host.keys.ssh.line } }
    expect((await machineCall(host.connection, 'POST', '/v1/ssh/user-certificates', asHost)).code).toBe('denied')
  })
})

const trustNow = async () => {
  const { bundles } = await call(world.stranger, api.trust.show)
  const { ssh: authorities } = parseTrustDocument(bundles.at(-1)?.document ?? '')
  return {
    user: authorities.userAuthorities[0]?.key ?? '',
    host: authorities.hostAuthorities[0]?.key ?? '',
  }
}

describe.skipIf(!real)('user and host certificates in a real sshd and ssh', () => {
  let sshd: TestSshd
  let user: ReturnType<typeof newUnixUser> | undefined
  let login: string
  let hostCertificate: string
  let trusted: Awaited<ReturnType<typeof trustNow>>
  /** Trusts our authorities for every purpose that a certificate's type could be mistaken for. */
  const open = async (keys: LoginKeys, certificate: string) => {
    const opened = await newSshd(folder => [
      `TrustedUserCAKeys ${folder}/authorities`,
      `AuthorizedPrincipalsFile ${folder}/principals`,
      `HostCertificate ${folder}/host-cert.pub`,
    ])
    writeFileSync(join(opened.folder, 'authorities'), `${trusted.user}\n${trusted.host}\n`)
    writeFileSync(join(opened.folder, 'principals'), `bob@example.com\n${host.name}\n`)
    writeFileSync(join(opened.folder, 'host-cert.pub'), `${certificate}\n`)
    writeFileSync(opened.hostKey, privateKeyFile(keys))
    chmodSync(opened.hostKey, 0o600)
    writeFileSync(`${opened.hostKey}.pub`, `${keys.ssh.line}\n`)
    const known = [trusted.host, trusted.user].map(key => `@cert-authority ${host.name},bob@example.com ${key}\n`)
    writeFileSync(join(opened.folder, 'known'), known.join(''))
    await opened.start()
    return opened
  }
  const asUser = (at: TestSshd, identity: { keys: LoginKeys; certificate: string }) =>
    ssh(at, login, { key: identity.keys.ssh, certificate: identity.certificate }, 'echo in', [
      'StrictHostKeyChecking=yes',
      `UserKnownHostsFile=${join(at.folder, 'known')}`,
      'GlobalKnownHostsFile=/dev/null',
      `HostKeyAlias=${host.name}`,
    ])
  const bobs = async () => ({ keys: world.bob.keys, certificate: certificateOf(await certify()).line })

  beforeAll(async () => {
    if (isRoot) user = newUnixUser()
    login = user?.name ?? ownLogin()
    trusted = await trustNow()
    const { challenge } = await call(world.stranger, api.login.challenge)
    const { sshSignature: signature } = proveBoth(host.keys, 'host-key', challenge)
    const body = { publicKey: host.keys.ssh.line, challenge, signature }
    hostCertificate = (await call(host.connection, api.hostSelf.hostCertificate, { body })).certificate
    sshd = await open(host.keys, hostCertificate)
  })
  afterAll(async () => {
    await sshd?.close()
    user?.remove()
  })

  it('host certificate used as user certificate: refused; a user certificate gets in', async () => {
    expect(await asUser(sshd, await bobs())).toMatchObject({ code: 0, out: 'in\n' })
    expect((await asUser(sshd, { keys: host.keys, certificate: hostCertificate })).code).toBe(255)
  })
  it('user certificate used as host certificate: refused by ssh', async () => {
    const { keys, certificate } = await bobs()
    const impostor = await open(keys, certificate)
    try {
      const refused = await asUser(impostor, { keys, certificate })
      expect(refused.code).toBe(255)
      expect(refused.err).toMatch(/host key|certificate/i)
    } finally {
      await impostor.close()
    }
  })
})

describe.skipIf(!real)('a person taken out of a team', () => {
  it('gets in no more at the next login, by the same certificate and with no change of the KRL', async () => {
    const demo = join(world.server.dataFolder, 'demo')
    const { port, login } = JSON.parse(readFileSync(join(demo, 'demo.json'), 'utf8'))
    const carol = await inviteAndEnrol(world.server, world.alice, 'carol@example.com')
    const team = (change: 'addMembers' | 'removeMembers') =>
      call(world.alice.connection, api.teams[change], {
        params: { name: 'sre' },
        body: bodyOf(api.teams[change], { persons: ['carol@example.com'] }),
      })
    await team('addMembers')
    await grant({ who: 'team:sre', login, hosts: { host: 'demo.keyman.localhost' } })
    const session = await logIn(world.server, carol)
    const identity = { key: session.keys.ssh, certificate: session.login.ssh?.certificate ?? '' }
    const at = { folder: world.server.folder, port }
    const tries = async () => (await ssh(at, login, identity, 'true')).code
    await expect.poll(tries, { timeout: 20_000 }).toBe(0)
    const krl = () => {
      const name = readdirSync(join(demo, 'sshd')).find(each => /krl|revoked/.test(each)) ?? ''
      return toBase64(new Uint8Array(readFileSync(join(demo, 'sshd', name))))
    }
    const before = krl()
    await team('removeMembers')
    await expect.poll(tries, { timeout: 20_000 }).toBe(255)
    expect(krl()).toBe(before)
    expect(fromBase64(before).length).toBeGreaterThan(0)
    await team('addMembers')
    await expect.poll(tries, { timeout: 20_000 }).toBe(0)
  })
})

it('a client key of another kind than P-256 begins no login', async () => {
  const { body } = await loginBody(world.stranger)
  for (const { publicKey } of [
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    generateKeyPairSync('ed25519'),
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ]) {
    const clientPublicKey = publicKey.export({ format: 'der', type: 'spki' }).toString('base64')
    const answer = await machineCall(world.stranger, 'POST', '/v1/login', { body: { ...body, clientPublicKey } })
    expect(answer.code).toBe('invalid-input')
  }
  expect((await machineCall(world.stranger, 'POST', '/v1/login', { body })).status).toBe(201)
})
