/**
 * Pure: whether each login and touch that the log holds is what a passkey was touched for. Nothing is believed of the server: the
 * challenge is made anew from what the record says was consented to, the signature is verified by a key that the log itself gave to
 * that person before and has not taken away, for the page that is pinned on this machine.
 */
import { hash } from 'node:crypto'
import { z } from 'zod'
import { concat, equalBytes, fromBase64, fromBase64Url, fromUtf8, toBase64Url } from '../bytes.ts'
import { digestOf } from '../canonical-json.ts'
import { actionChallenge, loginChallenge } from '../login-challenge.ts'
import { fingerprint } from '../ssh/index.ts'
import { isSignedBy } from './cose-key.ts'
import { type AuditRecord, readRecord, saidOf } from './record.ts'
import { passkeySaid, touchSaid } from './said.ts'

/** Of one record, in words that follow its number. */
export type Remark = { readonly index: bigint; readonly kind: string; readonly message: string }
export type AssertionReport = {
  /** Those that hold in all. */
  readonly good: number
  readonly failed: readonly Remark[]
  /** Those that do not hold what it would take: no word that they are good. */
  readonly notCheckable: readonly Remark[]
}

const bytes = z.string().transform((text, context) => decoded(fromBase64Url, text, context))
const key = z.string().transform((text, context) => decoded(fromBase64, text, context))
const answer = {
  credentialId: bytes,
  publicKey: bytes,
  authenticatorData: bytes,
  clientDataJSON: bytes,
  signature: bytes,
}
const loginDetails = z.object({
  flow: z.enum(['loopback', 'device']),
  sshKey: z.string(),
  clientKey: z.string(),
  challenge: z.object({
    nonce: bytes,
    sshPublicKey: key,
    clientSpki: key,
    lifetime: z.int().min(0).max(0xffff_ffff),
    device: z.string(),
    origin: z.string(),
  }),
  assertion: z.object(answer),
})
/** Signing in to the pages binds nothing but the page: the challenge is the nonce. */
const signInDetails = z.object({
  flow: z.literal('browser'),
  origin: z.string(),
  assertion: z.object({ ...answer, nonce: bytes }),
})
const touchDetails = z.object({
  action: z.string(),
  challenge: z.object({
    nonce: bytes,
    action: z.string(),
    request: key,
    shown: z.string(),
    session: z.string(),
    device: z.string(),
    clientSpki: key,
  }),
  assertion: z.object(answer),
})
const passkeyDetails = z.object({ credentialId: bytes, publicKey: bytes })
const clientDataSchema = z.object({
  type: z.string(),
  challenge: bytes,
  origin: z.string(),
  crossOrigin: z.boolean().optional(),
})

type Answer = z.output<z.ZodObject<typeof answer>>
type Claim = {
  readonly challenge: Uint8Array
  /** Where the record says it. */
  readonly origin?: string
  readonly assertion: Answer
}

/** Takes in the records of a log in their order, all of them. */
export class AssertionAudit {
  readonly #page: URL
  /** The digests of the passkeys that there are by now, by the IDs of their facts. */
  readonly #passkeys = new Map<string, string>()
  /** Which record an answer counted in. */
  readonly #used = new Map<string, bigint>()
  #good = 0
  readonly #failed: Remark[] = []
  readonly #notCheckable: Remark[] = []

  /** `publicUrl`: where the organisation's pages are, as it is pinned. */
  constructor(publicUrl: string) {
    this.#page = new URL(publicUrl)
  }

  take(index: bigint, text: string): void {
    const record = readRecord(text)
    if (!record) {
      this.#notCheckable.push({ index, kind: 'unknown', message: 'it is not written as a record is' })
      return
    }
    const { kind } = record
    if (kind === 'login' || kind === 'assertion') this.#judge(index, kind, () => this.#check(index, record))
    if (kind === 'passkey-added') this.#judge(index, kind, () => this.#add(record))
    this.#follow(record)
  }

  report(): AssertionReport {
    return { good: this.#good, failed: this.#failed, notCheckable: this.#notCheckable }
  }

  #judge(index: bigint, kind: string, check: () => void): void {
    try {
      check()
    } catch (error) {
      if (error instanceof Failed) this.#failed.push({ index, kind, message: error.message })
      else if (error instanceof NotHeld) this.#notCheckable.push({ index, kind, message: error.message })
      else throw error
    }
  }

  /** The key that everybody can read in the record has to be the one that the servers go by: its fact's. */
  #add(record: AuditRecord): void {
    const passkey = held(passkeyDetails, record.details)
    const { target, actor } = record
    if (target === undefined || actor.identity === undefined) throw new NotHeld('it does not hold whose passkey it is')
    const digest = digestOf(passkeySaid({ ...passkey, person: actor.identity }))
    const fact = saidOf(record, `${PASSKEY}${target}`)
    insist(fact === undefined || fact === digest, 'it adds another passkey than the one that it shows')
    this.#passkeys.set(`${PASSKEY}${target}`, digest)
  }

  #follow(record: AuditRecord): void {
    for (const id of Object.keys(record.facts).filter(each => each.startsWith(PASSKEY))) {
      const digest = saidOf(record, id)
      if (typeof digest !== 'string') this.#passkeys.delete(id)
      // What stood in a database whose records said nothing of rows yet. No other record than these two gives anybody a passkey.
      else if (record.kind === 'log-adopted') this.#passkeys.set(id, digest)
    }
    if (record.kind === 'passkey-removed') this.#passkeys.delete(`${PASSKEY}${record.target}`)
  }

  #check(index: bigint, record: AuditRecord): void {
    const person = record.actor.identity
    if (person === undefined) throw new NotHeld('it does not hold whose login or touch it is')
    const { challenge, origin, assertion } = record.kind === 'login' ? loginOf(record, person) : touchOf(record)
    const { credentialId, publicKey, authenticatorData, clientDataJSON, signature } = assertion

    const clientData = parseClientData(clientDataJSON)
    insist(clientData.type === 'webauthn.get', 'the passkey was asked for something else than an assertion')
    insist(equalBytes(clientData.challenge, challenge), 'what it says is not what the passkey was touched for')
    const isOurs = isSamePage(clientData.origin, this.#page) && clientData.crossOrigin !== true
    insist(isOurs, `the passkey was touched on another page than this organisation's`)
    insist(origin === undefined || origin === clientData.origin, 'the passkey was touched on another page than it says')

    const rpIdHash = hash('sha256', this.#page.hostname, 'buffer')
    insist(equalBytes(authenticatorData.subarray(0, 32), rpIdHash), 'the passkey is one for another name')
    const flags = authenticatorData[32] ?? 0
    insist((flags & USER_PRESENT) !== 0, 'nobody touched the passkey')
    insist((flags & USER_VERIFIED) !== 0, 'the passkey did not verify whose hand it was')

    const signed = concat(authenticatorData, hash('sha256', clientDataJSON, 'buffer'))
    insist(isSignedBy(publicKey, signed, signature), "the passkey's signature does not fit")
    const digest = digestOf(passkeySaid({ person, credentialId, publicKey }))
    const isKnown = this.#passkeys.values().some(known => known === digest)
    insist(isKnown, `by the records before it ${person} has no such passkey`)

    const answered = toBase64Url(challenge)
    const before = this.#used.get(answered)
    insist(before === undefined, `this answer of the passkey counted before, in record ${before}`)
    this.#used.set(answered, index)
    this.#good++
  }
}

const PASSKEY = 'passkey:'
/** WebAuthn Level 3, section 6.1. */
const USER_PRESENT = 1
const USER_VERIFIED = 4

class Failed extends Error {}
class NotHeld extends Error {}

function insist(isSo: boolean, otherwise: string): void {
  if (!isSo) throw new Failed(otherwise)
}

function loginOf(record: AuditRecord, person: string): Claim {
  const { details } = record
  if (memberOf(details, 'flow') === 'browser' && memberOf(details, 'challenge') === undefined) {
    const { origin, assertion } = held(signInDetails, details)
    return { challenge: assertion.nonce, origin, assertion }
  }
  const { challenge, assertion, sshKey, clientKey } = held(loginDetails, details)
  insist(sshKey === fingerprint(challenge.sshPublicKey), 'its SSH key is not the one that was consented to')
  insist(
    clientKey === hash('sha256', challenge.clientSpki, 'hex'),
    'its client key is not the one that was consented to',
  )
  const certified = Object.keys(record.facts).filter(id => id.startsWith('session-key:'))
  const isOwn = certified.every(id => id.startsWith(`session-key:${person} ${sshKey} `))
  insist(isOwn, 'it lets another SSH key be certified than the one that was consented to')
  return { challenge: loginChallenge(challenge), origin: challenge.origin, assertion }
}

function touchOf(record: AuditRecord): Claim {
  const { action, challenge, assertion } = held(touchDetails, record.details)
  insist(action === challenge.action, 'its action is not the one that was consented to')
  insist(record.actor.session === challenge.session, 'its session is not the one that was consented to')
  // What is done by this touch is done by what its fact says.
  const allows = record.target === undefined ? undefined : saidOf(record, `touch:${record.target}`)
  insist(allows === undefined || allows === digestOf(touchSaid(challenge)), 'it allows something else than was shown')
  return { challenge: actionChallenge(challenge), assertion }
}

/** The port may have changed since; the name never does (`assertRelyingParty` of the server). */
function isSamePage(origin: string, page: URL): boolean {
  const url = URL.parse(origin)
  return url?.origin === origin && url.protocol === page.protocol && url.hostname === page.hostname
}

function parseClientData(json: Uint8Array): z.output<typeof clientDataSchema> {
  const value = attempt(() => clientDataSchema.parse(JSON.parse(fromUtf8(json))))
  if (!value) throw new Failed('what the browser signed cannot be read')
  return value
}

/** The details, whole. What is not there is not held; what is there and is something else fails. */
function held<T>(schema: z.ZodType<T>, details: unknown): T {
  const parsed = schema.safeParse(details)
  if (parsed.success) return parsed.data
  const paths = parsed.error.issues.map(({ path }) => path)
  const wrong = paths.find(path => path.reduce<unknown>(memberOf, details) !== undefined)
  if (wrong) throw new Failed(`${wrong.join('.') || 'details'} is not written as it is in a record`)
  throw new NotHeld(`it does not hold ${paths.map(path => path.join('.') || 'any details').join(', ')}`)
}

const memberOf = (value: unknown, key: PropertyKey): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined

function decoded(decode: (text: string) => Uint8Array, text: string, context: z.RefinementCtx<string>): Uint8Array {
  const value = attempt(() => decode(text))
  if (value) return value
  context.addIssue({ code: 'custom', message: 'not base64' })
  return z.NEVER
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}
