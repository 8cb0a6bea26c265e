/**
 * Pure: what of this room's rows lets somebody in, as the records say it (`shared/audit/facts.ts`). What is only shown is left out. An owner
 * was called an administrator when there were no roles: rows and records say it so to this day.
 */
import type { Fact, Ledger } from '#server/ledger/index.ts'
import { LONGEST_LINK } from '#shared/api/fields.ts'
import {
  passkeyEnd,
  passkeyOfId,
  passkeySaid,
  passkeysEndedId,
  resetLinkId,
  type SessionKey,
  touchSaid,
} from '#shared/audit/index.ts'
import { toBase64Url, toHex } from '#shared/bytes.ts'

export const personId = (identity: string): string => `person:${identity}`
export const personFact = (person: {
  readonly identity: string
  readonly owner: boolean
  readonly state: 'active' | 'disabled'
  readonly userHandle: Uint8Array
}): Fact => ({
  id: personId(person.identity),
  is: { administrator: person.owner, state: person.state, userHandle: toHex(person.userHandle) },
})

export const passkeyId = (id: string): string => `passkey:${id}`
export const passkeyFact = (passkey: {
  readonly id: string
  readonly person: string
  readonly credentialId: Uint8Array
  readonly publicKey: Uint8Array
}): Fact => ({
  id: passkeyId(passkey.id),
  is: passkeySaid(passkey),
})

/** By its name its owner knows which one it is that was lost. */
export const passkeyNameFact = ({ id, name }: { readonly id: string; readonly name: string }): Fact => ({
  id: `passkey-name:${id}`,
  is: name,
})

export { passkeyEnd, passkeyOfId }
/**
 * Whose it is, in the ID itself, and when it was made: what a yes to the new passkey of somebody who was reset is a yes to is known
 * whatever the database hides. Of one from before this was said the log knows it by its row alone.
 */
export const passkeyOfFact = (passkey: {
  readonly id: string
  readonly person: string
  readonly createdAt: Date
}): Fact => ({ id: passkeyOfId(passkey.person, passkey.id), is: passkey.createdAt.toISOString() })

export const passkeysEndedFact = (person: string): Fact => ({ id: passkeysEndedId(person), is: 'ended' })
export const isPasskeyGone = (...of: Parameters<typeof passkeyEnd>): boolean => passkeyEnd(...of) !== undefined

/** Of these rows those that are this person's passkeys, and the IDs of what the log knows beside them. */
export function passkeysBy<Row extends Parameters<typeof passkeyFact>[0]>(
  facts: Pick<Ledger['facts'], 'holds' | 'ids' | 'isGone' | 'isOlder'>,
  person: string,
  rows: readonly Row[],
): { readonly shown: readonly Row[]; readonly hidden: readonly string[] } {
  const shown = rows.filter(
    row => row.person === person && facts.holds(passkeyFact(row)) && !isPasskeyGone(facts, { id: row.id, person }),
  )
  const before = passkeyOfId(person, '')
  const hidden = [...facts.ids('passkey-of:')]
    .flatMap(id => (id.startsWith(before) ? [id.slice(before.length)] : []))
    .filter(id => !isPasskeyGone(facts, { id, person }) && !shown.some(row => row.id === id))
  return { shown, hidden }
}

const RESET = 'reset:'
/** Who has reset the person, in the ID itself, since nobody has said yes to what came of it. No name has a space. */
export const resetId = (person: string, by: string): string => `${RESET}${person} ${by}`
export const resetFact = (person: string, by: string): Fact => ({ id: resetId(person, by), is: 'reset' })
export function resetBy(ids: Ledger['facts']['ids'], person: string): string[] {
  const before = resetId(person, '')
  return [...ids(RESET)].flatMap(id => (id.startsWith(before) ? [id.slice(before.length)] : []))
}

export const sessionId = (id: string): string => `session:${id}`
export const sessionFact = (session: {
  readonly id: string
  readonly person: string
  readonly device: string
  readonly passkey?: string | undefined
  readonly startedAt: Date
  readonly endsAt: Date
  readonly sshKey?: Uint8Array | undefined
  readonly clientSpki?: Uint8Array | undefined
  readonly cookieHash?: Uint8Array | undefined
}): Fact => ({
  id: sessionId(session.id),
  is: {
    person: session.person,
    device: session.device,
    passkey: session.passkey,
    startedAt: session.startedAt.toISOString(),
    endsAt: session.endsAt.toISOString(),
    sshKey: session.sshKey && toHex(session.sshKey),
    clientSpki: session.clientSpki && toHex(session.clientSpki),
    cookieHash: session.cookieHash && toHex(session.cookieHash),
  },
  until: session.endsAt,
})

const SESSION_KEY = 'session-key:'
/**
 * The SSH key of a machine's session, whose it is and until when, in the ID itself: so what a person may have had certified is known from
 * the log as it was read, whatever somebody hides in the database while it is revoked. Said where the session begins, if it may have certificates then; else
 * before its first: of what was never certified nothing has to be revoked.
 */
/** `person`: a workload's principal, too. */
export function sessionKeyFact(person: string, fingerprint: string, endsAt: Date): Fact {
  const until = Math.ceil(endsAt.getTime() / 1000)
  return { id: `${SESSION_KEY}${person} ${fingerprint} ${until}`, is: 'key', until: endsAt }
}
export function allSessionKeys(ids: Ledger['facts']['ids']): SessionKey[] {
  const found: SessionKey[] = []
  for (const id of ids(SESSION_KEY)) {
    const [whose, fingerprint, until] = id.slice(SESSION_KEY.length).split(' ')
    if (whose && fingerprint && until) found.push({ id, whose, fingerprint, until: BigInt(until) })
  }
  return found
}
export const sessionKeysOf = (ids: Ledger['facts']['ids'], person: string): SessionKey[] =>
  allSessionKeys(ids).filter(({ whose }) => whose === person)

export const linkId = (id: string): string => `link:${id}`
export const linkFact = (link: {
  readonly id: string
  readonly secretHash: Uint8Array
  readonly kind: string
  readonly isFirst: boolean
  readonly identity: string
  readonly identityFixed: boolean
  readonly owner: boolean
  readonly createdBy: string
  readonly endsAt: Date
}): Fact => ({
  id: linkId(link.id),
  is: {
    secretHash: toHex(link.secretHash),
    kind: link.kind,
    isFirst: link.isFirst,
    identity: link.identity,
    identityFixed: link.identityFixed,
    administrator: link.owner,
    createdBy: link.createdBy,
    endsAt: link.endsAt.toISOString(),
  },
  until: link.endsAt,
})

/** Of links that were ended: what the log knows otherwise is somebody else's, whom nobody meant. */
export const goneLinks = (
  facts: Pick<Ledger['facts'], 'has' | 'holds'>,
  links: readonly Parameters<typeof linkFact>[0][],
): Fact[] =>
  links.filter(link => facts.holds(linkFact(link)) || !facts.has(linkId(link.id))).map(({ id }) => gone(linkId(id)))

/**
 * Which link is the newest for this identity, or for the first owner: no older one is good, though its row was hidden from its end.
 * The operator's link for somebody comes in the place of a reset's.
 */
export const newestLinkId = (link: {
  readonly kind: string
  readonly isFirst: boolean
  readonly identity: string
  readonly identityFixed: boolean
}): string | undefined => {
  if (link.isFirst) return 'first-link'
  if (link.kind === 'invitation') return `invited:${link.identity}`
  return link.identityFixed ? resetLinkId(link.identity) : undefined
}
/** Remembered for as long as any that is older could be good, be it itself good for minutes. */
export function newestLinkFacts(link: Parameters<typeof linkFact>[0] & { readonly createdAt: Date }): Fact[] {
  const id = newestLinkId(link)
  const until = new Date(link.createdAt.getTime() + LONGEST_LINK * 1000)
  return id === undefined ? [] : [{ id, is: link.id, until }]
}

/** That an answer of a passkey counted: it never counts twice, whatever becomes of the row of its challenge. */
export const assertionId = (challenge: Uint8Array): string => `assertion:${toBase64Url(challenge)}`
export const assertionFact = (challenge: Uint8Array, until: Date): Fact => ({
  id: assertionId(challenge),
  is: 'used',
  until,
})

/** That a consent to a login is not to be redeemed any more. */
export const loginId = (id: string): string => `login:${id}`
export const loginFact = (id: string, is: 'redeemed' | 'refused', until: Date): Fact => ({ id: loginId(id), is, until })

/** That a passkey was touched for this very request, as it was shown. */
export const touchFact = (touch: {
  readonly id: string
  readonly session: string
  readonly request: Uint8Array
  readonly shown: string
  readonly endsAt: Date
}): Fact => ({
  id: `touch:${touch.id}`,
  is: touchSaid(touch),
  until: touch.endsAt,
})

/** That something was done by a touch: nothing more is, whatever becomes of its row. */
export const touchUsedId = (id: string): string => `touch-used:${id}`
export const touchUsedFact = (id: string, until: Date): Fact => ({ id: touchUsedId(id), is: 'used', until })

/** A session has one at a time, so that its end is said without a look at any row. */
export const mandateId = (session: string): string => `mandate:${session}`
export const mandateFact = (mandate: {
  readonly id: string
  readonly session: string
  readonly endsAt: Date
}): Fact => ({
  id: mandateId(mandate.session),
  is: { id: mandate.id, endsAt: mandate.endsAt.toISOString() },
  until: mandate.endsAt,
})

export const relyingPartyFact = (rp: { readonly id: string; readonly origin: string }): Fact => ({
  id: 'relying-party',
  is: { id: rp.id, origin: rp.origin },
})

/** What is gone. */
export const gone = (id: string): Fact => ({ id, is: null })
