// @peculiar/x509 asks for this polyfill, which it brings along, before itself.
import 'reflect-metadata'

import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, createServer, type TLSSocket } from 'node:tls'
import * as peculiar from '@peculiar/x509'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  assembleCertificate,
  type CertificateTemplate,
  encodeTbsCertificate,
  keyIdentifier,
  machineUri,
  type SignatureAlgorithm,
  toPem,
} from './index.ts'

type Pair = { publicKey: KeyObject; privateKey: KeyObject; spki: Uint8Array }
const spkiOf = (key: KeyObject) => Uint8Array.from(key.export({ format: 'der', type: 'spki' }))
function pair(algorithm: SignatureAlgorithm): Pair {
  const keys =
    algorithm === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...keys, spki: spkiOf(keys.publicKey) }
}
function signed(template: CertificateTemplate, key: KeyObject): Uint8Array {
  const tbs = encodeTbsCertificate(template)
  const signature =
    template.signatureAlgorithm === 'ed25519'
      ? sign(null, tbs, key)
      : sign('sha256', tbs, { key, dsaEncoding: 'ieee-p1363' })
  return assembleCertificate(tbs, template.signatureAlgorithm, Uint8Array.from(signature))
}

const start = new Date(Date.now() - 60_000)
const end = new Date(Date.now() + 3_600_000)
const uri = machineUri.person('acme', 'alice@example.com', 'ses_0123456789abcdef')

function family(algorithm: SignatureAlgorithm) {
  const authority = pair(algorithm)
  const server = pair('ecdsa-p256')
  const client = pair('ecdsa-p256')
  const common = {
    issuer: { commonName: 'acme machines' },
    notBefore: start,
    notAfter: end,
    authorityKeyId: keyIdentifier(authority.spki),
    signatureAlgorithm: algorithm,
  }
  const templates = {
    root: { ...common, serial: 1n, subject: common.issuer, spki: authority.spki, profile: 'root', subjectAltNames: [] },
    server: {
      ...common,
      serial: (1n << 159n) - 1n,
      subject: {},
      spki: server.spki,
      profile: 'server',
      subjectAltNames: [{ dns: 'localhost' }, { ip: '127.0.0.1' }, { ip: '::1' }],
    },
    client: {
      ...common,
      serial: 0x80n,
      subject: { commonName: 'alice@example.com' },
      spki: client.spki,
      profile: 'client',
      subjectAltNames: [{ uri }],
    },
  } satisfies Record<string, CertificateTemplate>
  const pems = {
    root: toPem(signed(templates.root, authority.privateKey), 'CERTIFICATE'),
    server: toPem(signed(templates.server, authority.privateKey), 'CERTIFICATE'),
    client: toPem(signed(templates.client, authority.privateKey), 'CERTIFICATE'),
  }
  return { authority, server, client, templates, pems }
}

const folder = mkdtempSync(join(tmpdir(), 'keyman-x509-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' })

describe.each(['ecdsa-p256', 'ed25519'] as const)('certificates signed with %s', algorithm => {
  const made = family(algorithm)
  const { templates, pems, authority } = made
  beforeAll(() => {
    for (const [name, pem] of Object.entries(pems)) writeFileSync(join(folder, `${algorithm}-${name}.pem`), pem)
  })
  const file = (name: string) => `${algorithm}-${name}.pem`

  it('stand up to openssl verify -x509_strict for their own purpose and for no other', () => {
    const verify = (purpose: string, leaf: string) =>
      openssl('verify', '-x509_strict', '-check_ss_sig', '-purpose', purpose, '-CAfile', file('root'), file(leaf))
    expect(verify('sslserver', 'server')).toContain('OK')
    expect(verify('sslclient', 'client')).toContain('OK')
    expect(verify('any', 'root')).toContain('OK')
    expect(() => verify('sslclient', 'server')).toThrow()
    expect(() => verify('sslserver', 'client')).toThrow()
  })

  it('show in openssl what the template says, critical where RFC 5280 says so', () => {
    const text = (name: string) => openssl('x509', '-noout', '-text', '-in', file(name)).replace(/\s+/g, ' ')
    expect(text('root')).toContain('X509v3 Basic Constraints: critical CA:TRUE, pathlen:0')
    expect(text('root')).toContain('X509v3 Key Usage: critical Certificate Sign, CRL Sign')
    expect(text('server')).toContain('X509v3 Key Usage: critical Digital Signature X509v3')
    expect(text('server')).toContain('TLS Web Server Authentication')
    expect(text('server')).toContain(
      'X509v3 Subject Alternative Name: critical DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
    )
    expect(text('client')).toContain('Subject: CN = alice@example.com')
    expect(text('client')).toContain(`X509v3 Subject Alternative Name: URI:${uri}`)
    expect(text('client')).toContain('CA:FALSE')
  })

  it('are read alike by Node and by an independent parser', async () => {
    const node = new X509Certificate(pems.server)
    expect(node.verify(authority.publicKey)).toBe(true)
    expect(node.checkHost('localhost')).toBe('localhost')
    expect(node.checkIP('::1')).toBe('::1')
    expect(node.serialNumber.toLowerCase()).toBe(templates.server.serial.toString(16))
    expect(new X509Certificate(pems.client).subjectAltName).toBe(`URI:${uri}`)
    const other = new peculiar.X509Certificate(pems.client)
    expect(other.notAfter.getTime()).toBe(Math.floor(end.getTime() / 1000) * 1000)
    expect(other.getExtension(peculiar.BasicConstraintsExtension)?.ca).toBe(false)
    expect(await other.verify({ publicKey: new peculiar.X509Certificate(pems.root), signatureOnly: true })).toBe(true)
  })

  it('carry a real TLS handshake on both sides', async () => {
    const server = createServer({
      key: made.server.privateKey.export({ format: 'pem', type: 'pkcs8' }),
      cert: pems.server,
      ca: pems.root,
      requestCert: true,
      rejectUnauthorized: true,
    })
    const seen = new Promise<string | undefined>(resolve =>
      server.on('secureConnection', (socket: TLSSocket) => {
        resolve(socket.getPeerX509Certificate()?.subjectAltName)
        socket.end()
      }),
    )
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: pems.root,
      cert: pems.client,
      key: made.client.privateKey.export({ format: 'pem', type: 'pkcs8' }),
    })
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
    expect(socket.authorized).toBe(true)
    expect(await seen).toBe(`URI:${uri}`)
    socket.destroy()
    await new Promise(resolve => server.close(resolve))
  })
})

describe('a certificate template', () => {
  const { templates, authority } = family('ecdsa-p256')
  const encode = (change: Partial<CertificateTemplate>) => () =>
    encodeTbsCertificate({ ...templates.server, ...change })

  it('has a serial above 0 with at most 159 bits', () => {
    expect(encode({ serial: 0n })).toThrow(/^serial/)
    expect(encode({ serial: -1n })).toThrow(/^serial/)
    expect(encode({ serial: 1n << 159n })).toThrow(/^serial/)
    expect(encode({ serial: 1n })).not.toThrow()
  })

  it('ends no earlier than it begins; both ends are inclusive', () => {
    expect(encode({ notAfter: new Date(start.getTime() - 1000) })).toThrow(/^notAfter/)
    expect(encode({ notAfter: start })).not.toThrow()
    expect(encode({ notAfter: new Date(Number.NaN) })).toThrow(/^notAfter/)
  })

  it.each(['*.example.com', 'example.com.', 'exam\0ple.com', 'Example.com', '', '127.0.0.1', 'a b', 'ä.example.com'])(
    'refuses %j as a DNS name',
    dns => expect(encode({ subjectAltNames: [{ dns }] })).toThrow(/^subjectAltNames\[0\]/),
  )

  it.each(['localhost', '1.2.3', '256.1.1.1', '01.2.3.4', '::1::', 'fe80::1%eth0', ':::'])(
    'refuses %j as an address',
    ip => expect(encode({ subjectAltNames: [{ ip }] })).toThrow(/^subjectAltNames\[0\]/),
  )

  it('refuses 1,000 names, no name, and names that its profile does not have', () => {
    const many = Array.from({ length: 1000 }, (_, i) => ({ dns: `h${i}.example.com` }))
    expect(encode({ subjectAltNames: many })).toThrow(/1000 names/)
    expect(encode({ subjectAltNames: many.slice(0, 100) })).not.toThrow()
    expect(encode({ subjectAltNames: [] })).toThrow(/^subjectAltNames/)
    expect(encode({ subjectAltNames: [{ uri }] })).toThrow(/^subjectAltNames/)
    expect(encode({ profile: 'client', subjectAltNames: [{ dns: 'localhost' }] })).toThrow(/^subjectAltNames/)
    expect(encode({ profile: 'client', subjectAltNames: [{ uri }, { uri }] })).toThrow(/^subjectAltNames/)
    expect(encode({ profile: 'client', subjectAltNames: [{ uri: 'keyman://a/host/b\0' }] })).toThrow(/^subjectAltNames/)
  })

  it('refuses a common name with control characters or more than 64 characters', () => {
    for (const commonName of ['', 'a\0b', 'a\nb', 'a\u202eb', 'x'.repeat(65)]) {
      expect(encode({ subject: { commonName } })).toThrow(/^subject/)
    }
  })

  it('refuses a root that is not its own issuer, key or identifier', () => {
    const other = pair('ecdsa-p256')
    const root = (change: Partial<CertificateTemplate>) => () => encodeTbsCertificate({ ...templates.root, ...change })
    expect(root({})).not.toThrow()
    expect(root({ issuer: { commonName: 'other' } })).toThrow(/^issuer/)
    expect(root({ spki: other.spki })).toThrow(/^authorityKeyId/)
    expect(root({ signatureAlgorithm: 'ed25519' })).toThrow(/^spki/)
    expect(root({ subjectAltNames: [{ dns: 'localhost' }] })).toThrow(/^subjectAltNames/)
  })

  it('is assembled only with a signature of the algorithm that it names', () => {
    const tbs = encodeTbsCertificate(templates.server)
    expect(() => assembleCertificate(tbs, 'ed25519', new Uint8Array(64))).toThrow(/^signatureAlgorithm/)
    expect(() => assembleCertificate(tbs, 'ecdsa-p256', new Uint8Array(70))).toThrow(/^signature/)
  })

  it('comes back from an independent parser as it went in', () => {
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/)
    const dns = fc.array(label, { minLength: 2, maxLength: 4 }).map(labels => `${labels.join('.')}.example`)
    fc.assert(
      fc.property(
        fc.bigInt({ min: 1n, max: (1n << 159n) - 1n }),
        fc.date({ min: new Date('1950-01-01'), max: new Date('9998-01-01'), noInvalidDate: true }),
        fc.array(
          fc.oneof(
            dns.map(name => ({ dns: name })),
            fc.ipV4().map(ip => ({ ip })),
          ),
          { minLength: 1, maxLength: 100 },
        ),
        (serial, notBefore, subjectAltNames) => {
          const template: CertificateTemplate = {
            ...templates.server,
            serial,
            notBefore,
            notAfter: notBefore,
            subjectAltNames,
          }
          const read = new X509Certificate(signed(template, authority.privateKey))
          expect(BigInt(`0x${read.serialNumber}`)).toBe(serial)
          expect(new Date(read.validFrom).getTime()).toBe(Math.floor(notBefore.getTime() / 1000) * 1000)
          expect(read.subjectAltName).toBe(
            subjectAltNames.map(name => ('dns' in name ? `DNS:${name.dns}` : `IP Address:${name.ip}`)).join(', '),
          )
        },
      ),
      { numRuns: 100, seed: 7 },
    )
  })
})
