import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createRateLimiter } from '#server/http/connections/rate-limit.ts'
import {
  type At,
  byPerson,
  type Consent,
  createIdentity,
  type Identity,
  type IdentityDeps,
  type MachineCaller,
  type PersonCaller,
  type Role,
} from '#server/identity/index.ts'
import { openKeystore } from '#server/keystore/index.ts'
import { createLedger, type Ledger, openSealKey } from '#server/ledger/index.ts'
import { openStore, type Store, type StoreConfig } from '#server/store/index.ts'
import { fromBase64Url, toBase64, toBase64Url, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { PROOF_NAMESPACE, type ProofPurpose, proofMessage } from '#shared/login-challenge.ts'
import { type PersonIdentity, parsePersonIdentity } from '#shared/names.ts'
import {
  armorSshsig,
  encodeSignature,
  encodeSshsig,
  formatPublicKey,
  publicKeyFromSpki,
  type SshPublicKey,
  sshsigSignedData,
} from '#shared/ssh/index.ts'
import { assembleCertificate, encodeTbsCertificate, keyIdentifier, machineUri, toPem } from '#shared/x509/index.ts'
import { onlyKey } from '../contract/ledger.ts'
import { fastFolder } from '../fast-folder.ts'
import { Authenticator } from '../people/authenticator.ts'
import { newPGlite } from '../programs/templates.ts'

export const ORIGIN = 'https://keyman.example.com'
export const ORGANISATION = 'acme'

/** The identity room with real rooms below it, a clock that the test moves, and a machine authority's key. */
export type IdentityWorld = {
  readonly store: Store
  readonly ledger: Ledger
  readonly identity: Identity
  readonly clock: { now: Date; monotonic: number }
  readonly root: TestRoot
  /** Seconds. */
  pass(seconds: number): void
  /** Another server on the same database. */
  again(change?: Partial<IdentityDeps>): Promise<Identity>
  close(): Promise<void>
}

const noWorkload = () => Promise.reject(new KeymanError('not-signed-in', 'there is no workload here'))
const NO_WORKLOADS: IdentityDeps['workloads'] = {
  resolve: noWorkload,
  reload: noWorkload,
  assertStands: noWorkload,
}

export const random = (bytes: number): Uint8Array => new Uint8Array(randomBytes(bytes))
export const person = (name: string): PersonIdentity => parsePersonIdentity(name, 'test')
let requests = 0
export const at = (from = '192.0.2.7'): At => ({ requestId: `req_${++requests}_${process.pid}`, from })
/** On behalf of somebody who has signed in. */
export const as = (caller: PersonCaller, how: 'person' | 'role' = 'person', consent?: Consent) =>
  byPerson(caller, { role: how === 'role' ? ownersRole(caller) : undefined, consent }, at())

/** What `access` would decide if there were owners alone, who have it for good. */
function ownersRole(caller: PersonCaller): Role {
  const role: Role = {
    epochs: [],
    holds: () => caller.owner,
    concerns: () => false,
    async again() {
      if (caller.owner) return role
      throw new KeymanError('denied', 'this takes a role that you do not have')
    },
  }
  return role
}
/** One that nobody takes away. */
const ANY_ROLE: Role = { epochs: [], holds: () => true, concerns: () => false, again: async () => ANY_ROLE }
export const operator = () => ({ actor: { kind: 'operator' } as const, requestId: at().requestId })

export async function openIdentityWorld(
  config?: StoreConfig,
  change: Partial<IdentityDeps> = {},
): Promise<IdentityWorld> {
  const folder = fastFolder('keyman-identity-')
  const clock = { now: new Date('2026-03-01T12:00:00Z'), monotonic: 0 }
  const now = () => clock.now
  const store = await openStore(config ?? (await newPGlite(join(folder, 'db'))))
  const unlock = { keyFile: join(folder, 'unlock') }
  const keystore = await openKeystore({ kind: 'software', folder: join(folder, 'keys'), unlock })
  const log = generateKeyPairSync('ed25519')
  const ledger = await createLedger({
    store,
    now,
    sealKey: await openSealKey({ store, keystores: [keystore], random, now }),
    origin: 'keyman.example.com/log',
    logKeys: onlyKey({
      name: 'keyman.example.com/log',
      publicKey: fromBase64Url(log.publicKey.export({ format: 'jwk' }).x ?? ''),
      sign: async data => new Uint8Array(sign(null, data, log.privateKey)),
    }),
  })
  const root = makeRoot()
  const deps: IdentityDeps = {
    store,
    ledger,
    keystores: [keystore],
    now,
    random,
    organisation: ORGANISATION,
    publicUrl: ORIGIN,
    machinesUrl: `${ORIGIN}:4443`,
    rootFingerprint: () => 'SHA256:uNiVztksCsDhcc0u9e8BrjdEQnDxTcWQ0mKNyoXvpSg',
    maxLifetime: 12 * 3600,
    assertionLimiter: createRateLimiter({ burst: 1000, perMinute: 1000, now: () => clock.monotonic }),
    denialLimiter: createRateLimiter({ burst: 5, perMinute: 2, now: () => clock.monotonic }),
    machineRoots: () => [root.pem],
    resolveHost: () => undefined,
    workloads: NO_WORKLOADS,
    roleToSend: () => ANY_ROLE,
    mayBeCertified: () => true,
    monotonic: () => clock.monotonic,
    ...change,
  }
  const identity = await createIdentity(deps)
  await identity.start()
  return {
    store,
    ledger,
    identity,
    clock,
    root,
    pass(seconds) {
      clock.now = new Date(clock.now.getTime() + seconds * 1000)
    },
    again: more => createIdentity({ ...deps, ...more }),
    async close() {
      await identity.stop()
      await ledger.stop()
      await store.close()
      await keystore.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export type TestRoot = { readonly pem: string; readonly key: KeyObject; readonly spki: Uint8Array }

export function makeRoot(): TestRoot {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  const root = { key: privateKey, spki, pem: '' }
  const der = certify(root, spki, 'root', undefined, new Date('2026-01-01'), new Date('2036-01-01'))
  return { ...root, pem: toPem(der, 'CERTIFICATE') }
}

function certify(
  root: Omit<TestRoot, 'pem'>,
  spki: Uint8Array,
  profile: 'root' | 'client',
  uri: string | undefined,
  notBefore: Date,
  notAfter: Date,
): Uint8Array {
  const tbs = encodeTbsCertificate({
    serial: BigInt(`0x${randomBytes(15).toString('hex')}`) + 1n,
    issuer: { commonName: 'acme machines' },
    subject: profile === 'root' ? { commonName: 'acme machines' } : {},
    notBefore,
    notAfter,
    spki,
    profile,
    subjectAltNames: uri === undefined ? [] : [{ uri }],
    authorityKeyId: keyIdentifier(root.spki),
    signatureAlgorithm: 'ecdsa-p256',
  })
  const signature = sign('sha256', tbs, { key: root.key, dsaEncoding: 'ieee-p1363' })
  return assembleCertificate(tbs, 'ecdsa-p256', new Uint8Array(signature))
}

/** A client certificate as the machine authority issues it; every part can be another. */
export function clientCertificate(
  world: IdentityWorld,
  caller: Pick<MachineCaller, 'identity' | 'session' | 'clientSpki' | 'endsAt'>,
  change: {
    root?: TestRoot
    spki?: Uint8Array
    uri?: string
    notBefore?: Date
    notAfter?: Date
  } = {},
): Uint8Array {
  return certify(
    change.root ?? world.root,
    change.spki ?? caller.clientSpki,
    'client',
    change.uri ?? machineUri.person(ORGANISATION, caller.identity, caller.session),
    change.notBefore ?? new Date(world.clock.now.getTime() - 60_000),
    change.notAfter ?? caller.endsAt,
  )
}

/** Enrols a person by the first owner's link, or by an invitation; gives the authenticator and the browser's cookie. */
export async function enrol(
  { identity }: IdentityWorld,
  name: string,
  options: { owner?: boolean; authenticator?: Authenticator; link?: string } = {},
) {
  const who = person(name)
  const owner = options.owner ?? false
  const link =
    options.link ?? (await identity.enrolment.invite({ identity: who, owner, lifetime: 3600 }, operator())).link
  const secret = link.slice(link.indexOf('#') + 1)
  const authenticator = options.authenticator ?? new Authenticator(ORIGIN)
  const creation = await identity.enrolment.options(secret, who)
  const registration = authenticator.create(creation)
  const signedIn = await identity.enrolment.complete(
    { secret, identity: who, passkeyName: 'laptop', registration },
    at(),
  )
  if (signedIn === 'waits') throw new Error(`${name} waits for the yes of another administrator`)
  return { who, authenticator, secret, ...signedIn }
}

export type TestMachine = {
  readonly ssh: { readonly key: KeyObject; readonly publicKey: SshPublicKey }
  readonly client: { readonly key: KeyObject; readonly spki: Uint8Array }
}

/** A machine's two keys. */
export function makeMachine(): TestMachine {
  const ssh = generateKeyPairSync('ed25519')
  const client = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = (key: KeyObject) => new Uint8Array(key.export({ format: 'der', type: 'spki' }))
  return {
    ssh: { key: ssh.privateKey, publicKey: publicKeyFromSpki(spki(ssh.publicKey)) },
    client: { key: client.privateKey, spki: spki(client.publicKey) },
  }
}

/** Both signatures over a challenge. */
export function prove(
  machine: TestMachine,
  challenge: string,
  purpose: ProofPurpose = 'login',
  namespace = PROOF_NAMESPACE,
) {
  const { publicKey } = machine.ssh
  const message = proofMessage({
    purpose,
    challenge: fromBase64Url(challenge),
    sshPublicKey: publicKey.blob,
    clientSpki: machine.client.spki,
  })
  const raw = sign(null, sshsigSignedData(namespace, message), machine.ssh.key)
  const signature = encodeSignature(publicKey, new Uint8Array(raw))
  const client = sign('sha256', message, { key: machine.client.key, dsaEncoding: 'ieee-p1363' })
  return {
    challenge,
    sshSignature: armorSshsig(encodeSshsig({ publicKey, namespace, signature })),
    clientSignature: toBase64(new Uint8Array(client)),
  }
}

export const REDIRECT = 'http://127.0.0.1:40404/callback'

/** The body of `POST /v1/login`, with the secrets that the machine keeps. */
export function loginRequest(world: IdentityWorld, kind: 'loopback' | 'device' = 'loopback', machine = makeMachine()) {
  const codeVerifier = toBase64Url(random(32))
  const state = toBase64Url(random(32))
  const codeChallenge = toBase64Url(new Uint8Array(createHash('sha256').update(utf8(codeVerifier)).digest()))
  const body = {
    flow: kind === 'loopback' ? { kind, redirectUri: REDIRECT, codeChallenge, state } : { kind },
    sshPublicKey: formatPublicKey(machine.ssh.publicKey, 'test'),
    clientPublicKey: toBase64(machine.client.spki),
    lifetime: 8 * 3600,
    device: 'laptop',
    proof: prove(machine, world.identity.proofs.challenge()),
  } satisfies Parameters<Identity['logins']['start']>[0]
  return { body, machine, codeVerifier, state }
}

/** Begins a login by loopback and touches the passkey; what is left is to redeem the code. */
export async function consented(world: IdentityWorld, authenticator: Authenticator) {
  const { logins } = world.identity
  const request = loginRequest(world)
  const { transaction } = await logins.start(request.body, '192.0.2.9')
  const options = await logins.options(transaction)
  const { redirectTo = '' } = await logins.consent(transaction, authenticator.get(options), at())
  const answer = new URL(redirectTo).searchParams
  const token = {
    grant: 'code' as const,
    transaction,
    code: answer.get('code') ?? '',
    codeVerifier: request.codeVerifier,
  }
  return { ...request, transaction, redirectTo, token }
}

/** The whole login of a machine. */
export async function login(world: IdentityWorld, authenticator: Authenticator) {
  const begun = await consented(world, authenticator)
  const redeemed = await world.identity.logins.redeem(begun.token, at())
  if (redeemed.state !== 'done') throw new Error(`the login is ${redeemed.state}`)
  return { ...begun, caller: redeemed.caller }
}

/** What a person touches when the server asks for a fresh assertion: the transaction's ID. */
export async function stepUpOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
  } catch (error) {
    const transaction: unknown = Reflect.get(Object(error), 'transaction')
    if (typeof transaction === 'object' && transaction !== null && 'id' in transaction) return String(transaction.id)
    throw error
  }
  throw new Error('no step-up was asked for')
}
