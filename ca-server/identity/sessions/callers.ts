import { X509Certificate } from 'node:crypto'
import { toHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { type MachineIdentity, machineUri } from '#shared/x509/index.ts'
import type { BrowserCaller, Caller, HostCaller, MachineCaller } from '../caller.ts'
import { hashSecret, sha256 } from '../records/secrets.ts'
import { selectSessionByCookie, touchUse } from '../records/session-records.ts'
import { addSeconds, type Room } from '../room.ts'
import { ended } from './sessions.ts'

/** A browser's session ends after this time without use, in seconds. */
export const BROWSER_IDLE = 3600
const NOTE_USE_EVERY = 60

/** What a client certificate says, parsed once a connection. */
type Parsed = {
  readonly subject: MachineIdentity
  readonly notBefore: number
  readonly notAfter: number
  readonly spki: Uint8Array
  readonly fingerprint: string
  /** The root that signed it. */
  readonly root: string
}

/** The room's `callerFromClientCertificate`. */
export function certificateCallers({ deps, sessions }: Room) {
  const parsed = new WeakMap<Uint8Array, Parsed>()

  return (der: Uint8Array, chainAuthorized: boolean, renews = false): Caller | Promise<Caller> => {
    // What the handshake found wrong stays wrong; what it found right is checked anew below.
    if (!chainAuthorized) throw notGood('it does not lead to this organisation, or is not for clients')
    sessions.assertFresh()
    let certificate = parsed.get(der)
    if (!certificate) {
      certificate = parse(der, deps.machineRoots(), deps.organisation)
      parsed.set(der, certificate)
    }
    if (!deps.machineRoots().includes(certificate.root)) throw notGood('its authority is not trusted any more')
    const now = deps.now().getTime()
    if (now > certificate.notAfter) throw notGood('it has ended')
    if (now < certificate.notBefore) throw notGood('it is not good yet; is the clock right?')
    const { subject } = certificate
    if (subject.kind === 'host') return host(subject.name, certificate)
    if (subject.kind === 'workload') return deps.workloads.resolve({ ...subject, clientSpki: certificate.spki, renews })
    const caller = sessions.machine(subject.session, subject.identity)
    return caller instanceof Promise
      ? caller.then(loaded => withKey(loaded, certificate))
      : withKey(caller, certificate)
  }

  function host(name: HostCaller['name'], { spki, fingerprint }: Parsed): HostCaller {
    const found = deps.resolveHost(name, spki)
    if (!found) throw new KeymanError('not-signed-in', `${name} is not a host of this organisation with this key`)
    return { kind: 'host', name, clientSpki: spki, clientFingerprint: fingerprint, ...found }
  }
}

/** A certificate for another key than the session's was never issued by us, whoever signed it. */
function withKey(caller: MachineCaller, { fingerprint }: Parsed): MachineCaller {
  if (caller.clientFingerprint !== fingerprint) throw ended()
  return caller
}

function parse(der: Uint8Array, roots: readonly string[], organisation: string): Parsed {
  try {
    const certificate = new X509Certificate(der)
    const root = roots.find(pem => {
      const issuer = new X509Certificate(pem)
      return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)
    })
    if (root === undefined) throw notGood('it was not issued by this organisation')
    // Exactly one name, a URI; no character of ours is one that Node would quote.
    const [, uri = ''] = /^URI:([^\s,"]+)$/.exec(certificate.subjectAltName ?? '') ?? []
    const subject = machineUri.parse(uri)
    if (subject.organisation !== organisation) throw notGood('it is of another organisation')
    const spki = Uint8Array.from(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    return {
      subject,
      root,
      spki,
      fingerprint: toHex(sha256(spki)),
      notBefore: certificate.validFromDate.getTime(),
      notAfter: certificate.validToDate.getTime(),
    }
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'not-signed-in') throw error
    throw notGood('it is not one of ours', error)
  }
}

const notGood = (why: string, cause?: unknown): KeymanError =>
  new KeymanError('not-signed-in', `this client certificate is not accepted: ${why}`, {
    hint: 'sign in again: keyman login',
    ...(cause === undefined ? {} : { cause }),
  })

/** The room's `callerFromCookie`. Pages are called seldom: this asks the database each time. */
export async function callerFromCookie({ deps, sessions }: Room, cookie: string): Promise<BrowserCaller> {
  const { store, now } = deps
  const hash = /^[A-Za-z0-9_-]{43}$/.test(cookie) ? hashSecret(cookie) : undefined
  const row = hash && (await selectSessionByCookie(store, hash))
  if (!row || addSeconds(row.usedAt, BROWSER_IDLE) <= now()) throw signedOut()
  // This row only says which session it may be: whose cookie it is says the row that the log vouches for.
  const caller = await sessions.load(row.id, row.person, hash)
  if (caller.via !== 'browser') throw signedOut()
  if (addSeconds(row.usedAt, NOTE_USE_EVERY) <= now()) await touchUse(store, row.id, now())
  return caller
}

const signedOut = (): KeymanError =>
  new KeymanError('not-signed-in', 'this browser is not signed in', { hint: 'sign in with your passkey' })
