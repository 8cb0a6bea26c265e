import type { Entry, Fact } from '#server/ledger/index.ts'
import { type Queryable, StoreError } from '#server/store/index.ts'
import { resetLinkId } from '#shared/audit/index.ts'
import { equalBytes, toBase64Url } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { createInvitations } from '../links/invitations.ts'
import { assertLength, findLink, hasAnybody, linkOver, loginLine, roleToSend, taken } from '../links/links.ts'
import { createReset } from '../links/reset.ts'
import type { Enrolment } from '../port.ts'
import {
  gone,
  linkId,
  passkeyFact,
  passkeyNameFact,
  passkeyOfFact,
  personFact,
  personId,
  relyingPartyFact,
  resetBy,
} from '../records/facts.ts'
import { type LinkRow, useLink } from '../records/link-records.ts'
import {
  fixRelyingParty,
  insertPasskey,
  insertPerson,
  lockOwners,
  lockPerson,
  makeOwner,
  selectPasskeys,
  selectPerson,
  selectUserHandle,
} from '../records/person-records.ts'
import { newId } from '../records/secrets.ts'
import { announceChange } from '../records/session-records.ts'
import { vouchedPerson } from '../records/vouched.ts'
import { inTransaction, type Room } from '../room.ts'
import type { Act, At, Role } from '../standing.ts'
import { anew, assertRoleHolds } from '../touches/under-role.ts'
import { giveChallenge, takeChallenge } from '../webauthn/challenges.ts'
import { creationOptions, type NewPasskey, parseRegistration, verifyRegistration } from '../webauthn.ts'
import { beginBrowserSession, signedIn } from './sign-ins.ts'

/** Becoming a person of this organisation, by a link that works once. */
export function createEnrolment(room: Room, act: Act): Enrolment {
  const { deps, rp } = room
  const { store, random } = deps
  const find = (secret: string) => findLink(room, secret)

  /** Throws where this person can't be made by this link; what counts is checked once more in the transaction. */
  async function assertFits(link: LinkRow, identity: PersonIdentity): Promise<void> {
    assertLength(identity)
    if (link.identityFixed && link.identity !== identity)
      throw invalid('identity', `this link is for ${link.identity} alone`)
    if (isForOneWhoIsHere(link)) return
    // An identity is never given twice, though somebody took its row away.
    const isTaken = deps.ledger.facts.has(personId(identity)) || (await selectPerson(store, identity))
    if (isTaken) throw taken(identity)
  }

  return {
    async open(secret) {
      const { kind, isFirst: first, identity, identityFixed, owner, endsAt } = await find(secret)
      const isHere = identityFixed && deps.ledger.facts.has(personId(identity))
      const waits = kind === 'reset' && (await vouchedPerson(room, identity))?.state === 'disabled'
      const login = loginLine(deps)
      return { kind, first, identity, identityFixed, owner, isHere, waits, endsAt, login }
    },

    async options(secret, identity) {
      const link = await find(secret)
      await assertFits(link, identity)
      // A person has one user handle for good: an authenticator keeps one passkey for each. Nobody new is given another's.
      const isHere = deps.ledger.facts.has(personId(identity))
      const userHandle = (isHere ? await selectUserHandle(store, identity) : undefined) ?? random(64)
      const registration = { identity, userHandle }
      const challenge = await giveChallenge(room, { purpose: 'enrolment', subject: link.id }, registration)
      const known = (await selectPasskeys(store, identity)).map(passkey => passkey.credentialId)
      return creationOptions(rp, { identity, userHandle, challenge, known })
    },

    async complete({ secret, identity, passkeyName, registration }, at) {
      const link = await find(secret)
      await assertFits(link, identity)
      const answer = parseRegistration(registration)
      const challenge = { challenge: answer.challenge, purpose: 'enrolment', subject: link.id } as const
      const { identity: meant, userHandle } = await takeChallenge(room, challenge)
      if (meant !== identity || !userHandle)
        throw new KeymanError('denied', 'this passkey was made for another identity', { hint: 'load the page again' })
      const passkey = await verifyRegistration(rp, answer)
      const about = { link, identity, userHandle, passkey, passkeyName, at }
      const begun = await orTaken(identity, () => whileSent(room, link, (t, role) => enrol(room, t, about, role)))
      await room.sessions.refresh()
      await deps
        .onEnrolled?.({ identity, owner: link.owner, first: link.isFirst })
        .catch((error: unknown) => deps.onError?.(error))
      return begun ? signedIn(room, begun, identity) : 'waits'
    },

    ...createInvitations(room, act),
    ...createReset(room, act),
  }
}

/**
 * In a transaction in which whoever made the link may still send it, by what is known then: `work` takes the numbers of that role with those that
 * it changes. Throws `expired` where they may not any more.
 */
async function whileSent<T>(
  room: Room,
  link: LinkRow,
  work: (t: Queryable, role: Role | undefined) => Promise<T>,
): Promise<T> {
  let role: Role | undefined
  let isFirst = true
  return anew(
    async () => {
      role = isFirst
        ? roleToSend(room.deps, link)
        : await role?.again().catch((error: unknown) => {
            throw error instanceof KeymanError && error.code === 'denied' ? linkOver() : error
          })
      isFirst = false
      return role?.epochs ?? []
    },
    () => inTransaction(room, 'enrol', undefined, t => work(t, role)),
  )
}

/** Everything of one enrolment, or nothing. */
async function enrol(
  room: Room,
  t: Queryable,
  about: {
    link: LinkRow
    identity: PersonIdentity
    userHandle: Uint8Array
    passkey: NewPasskey
    passkeyName: string
    at: At
  },
  role: Role | undefined,
) {
  const { deps, rp } = room
  const { link, identity, userHandle, passkey } = about
  const at = deps.now()
  await deps.ledger.takeEpochs(t, { bump: [personId(identity)], share: role?.epochs ?? [] })
  // What the link gives hangs on what its name was given by now, and on what its maker has.
  await assertRoleHolds(deps.ledger, t, role, [personId(identity)])
  if (!(await useLink(t, link.id, identity, at))) throw linkOver()
  // Two who make the first passkey at once: the second waits here, and then sees the first.
  const isFirstPasskey = (await fixRelyingParty(t, rp, at)) > 0
  if (link.isFirst && (hasAnybody(deps) || (await lockOwners(t)).length > 0)) throw linkOver()
  const existing = isForOneWhoIsHere(link) ? await lockPerson(t, identity) : undefined
  if (existing && !equalBytes(existing.userHandle, userHandle)) throw taken(identity)
  const who = await becomes(room, t, { link, identity, userHandle, existing, at })
  const id = newId('passkey', deps.random)
  await insertPasskey(t, { ...passkey, id, person: identity, name: about.passkeyName, at })
  const session = who.waits
    ? undefined
    : await beginBrowserSession(room, t, { person: identity, passkey: id, from: about.at.from })
  await announceChange(t, [personId(identity)])
  const entry = {
    requestId: about.at.requestId,
    actor: { kind: 'person', identity, ...(session ? { session: session.id } : {}) },
    from: about.at.from,
  } as const
  await deps.ledger.appendIn(t, [
    {
      ...entry,
      kind: 'enrolled',
      target: identity,
      details: {
        link: link.id,
        invitedBy: link.createdBy,
        owner: who.owner,
        first: link.isFirst,
        recovery: existing !== undefined,
        ...(who.waits ? { waits: true } : {}),
      },
      facts: [
        gone(linkId(link.id)),
        ...who.facts,
        ...(isFirstPasskey ? [relyingPartyFact(rp)] : []),
        ...(session ? [session.fact] : []),
      ],
    },
    passkeyEntry(entry, { ...passkey, id, person: identity, name: about.passkeyName, createdAt: at }),
  ])
  return session
}

/** What the link makes of the person: somebody new, an owner again, or, after a reset, whoever that is by now. */
async function becomes(
  { deps: { ledger } }: Room,
  t: Queryable,
  about: {
    link: LinkRow
    identity: PersonIdentity
    userHandle: Uint8Array
    existing: Awaited<ReturnType<typeof lockPerson>>
    at: Date
  },
): Promise<{ owner: boolean; waits: boolean; facts: readonly Fact[] }> {
  const { link, identity, userHandle, existing, at } = about
  if (link.kind === 'reset') {
    // Nothing is said anew of the person: the rights are those that the log knows, and a row that says others counts for nothing.
    if (!existing || !ledger.facts.holds(personFact(existing))) throw linkOver()
    // As when it was found: somebody may have said yes since, to the passkeys of then.
    for (const newer of [personId(identity), resetLinkId(identity)])
      if (ledger.facts.isOlder(linkId(link.id), newer)) throw linkOver()
    const waits = existing.state === 'disabled'
    if (waits && resetBy(ledger.facts.ids, identity).length === 0) throw linkOver()
    return { owner: existing.owner, waits, facts: [] }
  }
  const owner = existing ? true : link.owner
  if (existing) await makeOwner(t, identity)
  else await insertPerson(t, { identity, owner, userHandle, at })
  return { owner, waits: false, facts: [personFact({ identity, owner, state: 'active', userHandle })] }
}

/** With the credential's public key, so that an auditor can check later assertions of this person. */
export const passkeyEntry = (
  entry: Pick<Entry, 'requestId' | 'actor' | 'from'>,
  passkey: NewPasskey & {
    readonly id: string
    readonly person: string
    readonly name: string
    readonly createdAt: Date
  },
): Entry => ({
  ...entry,
  kind: 'passkey-added',
  target: passkey.id,
  facts: [passkeyFact(passkey), passkeyNameFact(passkey), passkeyOfFact(passkey)],
  details: {
    name: passkey.name,
    credentialId: toBase64Url(passkey.credentialId),
    publicKey: toBase64Url(passkey.publicKey),
    synced: passkey.synced,
  },
})

/** The operator's link for somebody who is here already, or may be. */
const isRecovery = (link: LinkRow): boolean => link.kind === 'administrator' && link.identityFixed
const isForOneWhoIsHere = (link: LinkRow): boolean => link.kind === 'reset' || isRecovery(link)

/** Two enrolments of one identity, or of one passkey, at once: the second fails as it would have a moment later. */
export async function orTaken<T>(identity: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'unique') {
      if (error.constraint === 'person_pkey') throw taken(identity)
      if (error.constraint === 'passkey_credential')
        throw new KeymanError('conflict', 'this passkey is registered here already', {
          hint: 'use another authenticator',
        })
    }
    throw error
  }
}
