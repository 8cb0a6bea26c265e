import type { Entry, Fact } from '#server/ledger/index.ts'
import { type Queryable, StoreError } from '#server/store/index.ts'
import { equalBytes, toBase64Url } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { isPersonIdentity, type PersonIdentity } from '#shared/names.ts'
import { giveChallenge, takeChallenge } from './challenges.ts'
import { gone, isEndedWithAll, linkFact, linkId, passkeyFact, personFact, relyingPartyFact } from './facts.ts'
import { endLinks, insertLink, type LinkRow, selectLink, selectOpenLinks, useLink } from './link-records.ts'
import {
  fixRelyingParty,
  insertPasskey,
  insertPerson,
  lockAdministrators,
  lockPerson,
  makeAdministrator,
  selectPasskeys,
  selectPerson,
  selectUserHandle,
} from './person-records.ts'
import type { Act, At, By, Enrolment } from './port.ts'
import { addSeconds, inTransaction, type Room } from './room.ts'
import { hashSecret, newId, newSecret } from './secrets.ts'
import { announceChange } from './session-records.ts'
import { beginBrowserSession, signedIn } from './sign-ins.ts'
import { vouchedPersons } from './vouched.ts'
import { creationOptions, type NewPasskey, parseRegistration, verifyRegistration } from './webauthn.ts'

/** Seconds. */
const ADMIN_LINK_LIFETIME = 900
/** `identity/passkey/session_…` has to fit into a key ID of 128 characters. */
const MAX_IDENTITY = 90

/** Becoming a person of this organisation, by a link that works once. */
export function createEnrolment(room: Room, act: Act): Enrolment {
  const { deps, rp } = room
  const { store, now, random, publicUrl } = deps

  async function find(secret: string): Promise<LinkRow> {
    const hash = hashSecret(secret)
    const read = async () => {
      const row = await selectLink(store, hash)
      return row && equalBytes(row.secretHash, hash) && !row.used && row.endsAt > now() ? [row] : []
    }
    const [link] = await deps.ledger.vouched(read, row => [linkFact(row)])
    if (!link || link.used || link.endsAt <= now()) throw linkOver()
    if (isEndedWithAll(deps.ledger.facts, linkId(link.id), link.createdBy)) throw linkOver()
    return link
  }
  async function make(
    on: Queryable,
    link: Omit<LinkRow, 'id' | 'used' | 'createdAt' | 'endsAt' | 'secretHash'>,
    lifetime: number,
  ) {
    const secret = newSecret(random)
    const endsAt = addSeconds(now(), lifetime)
    const id = newId('link', random)
    const made = { ...link, id, secretHash: secret.hash, createdAt: now(), endsAt }
    await insertLink(on, made)
    // After `#`: a fragment is sent to no server and stands in no log.
    return { id, link: `${publicUrl}/enrol#${secret.text}`, endsAt, fact: linkFact(made) }
  }

  /** Throws where this person can't be made by this link; what counts is checked once more in the transaction. */
  async function assertFits(link: LinkRow, identity: PersonIdentity): Promise<void> {
    assertLength(identity)
    if (link.identityFixed && link.identity !== identity)
      throw invalid('identity', `this link is for ${link.identity} alone`)
    if (isRecovery(link)) return
    // An identity is never given twice, though somebody took its row away.
    const isTaken = deps.ledger.facts.has(`person:${identity}`) || (await selectPerson(store, identity))
    if (isTaken) throw taken(identity)
  }

  return {
    async open(secret) {
      const { kind, identity, identityFixed, endsAt } = await find(secret)
      return { kind, identity, identityFixed, endsAt, login: loginLine(deps) }
    },

    async options(secret, identity) {
      const link = await find(secret)
      await assertFits(link, identity)
      // A person has one user handle for good: an authenticator keeps one passkey for each.
      const userHandle = (await selectUserHandle(store, identity)) ?? random(64)
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
      const begun = await orTaken(identity, () =>
        inTransaction(room, 'enrol', undefined, t =>
          enrol(room, t, { link, identity, userHandle, passkey, passkeyName, at }),
        ),
      )
      await room.sessions.refresh()
      await deps
        .onEnrolled?.({ identity, administrator: link.administrator, first: link.isFirst })
        .catch((error: unknown) => deps.onError?.(error))
      return signedIn(room, begun, identity)
    },

    async invite({ identity, administrator, lifetime }, by) {
      assertLength(identity)
      const made = await act(by, { name: 'invite' }, async t => {
        if (await selectPerson(t, identity)) throw taken(identity)
        const ended = await endLinks(t, { identity }, now())
        const link = await make(
          t,
          { kind: 'invitation', isFirst: false, identity, identityFixed: true, administrator, createdBy: nameOf(by) },
          lifetime,
        )
        await deps.ledger.appendIn(t, [linkEntry('invitation-created', link, identity, administrator, by, ended)])
        return link
      })
      return { identity, link: made.link, login: loginLine(deps), endsAt: made.endsAt }
    },

    async openLinks() {
      const open = await deps.ledger.vouched(
        () => selectOpenLinks(store, now()),
        link => [linkFact(link)],
      )
      return open.map(({ id, identity, administrator, createdBy, createdAt, endsAt }) => ({
        id,
        identity,
        administrator,
        createdBy,
        createdAt,
        endsAt,
      }))
    },

    endLink: (id, by) =>
      act(by, { name: 'invitation remove' }, async t => {
        const ended = await endLinks(t, { id }, now())
        // By the log: its row may be hidden, and put back.
        if (ended.length === 0 && !deps.ledger.facts.has(linkId(id)))
          throw new KeymanError('not-found', `there is no invitation ${id.slice(0, 64)} that could still be used`, {
            hint: 'see keyman invitation list',
          })
        await deps.ledger.appendIn(t, [{ ...by, kind: 'invitation-removed', target: id, facts: [gone(linkId(id))] }])
      }),

    async createAdminLink(identity, by) {
      if (identity !== undefined) assertLength(identity)
      return act(by, { name: 'admin-link' }, async t => {
        const link = await make(
          t,
          {
            kind: 'administrator',
            isFirst: false,
            identity: identity ?? '',
            identityFixed: identity !== undefined,
            administrator: true,
            createdBy: nameOf(by),
          },
          ADMIN_LINK_LIFETIME,
        )
        await deps.ledger.appendIn(t, [linkEntry('admin-link-created', link, identity, true, by)])
        return { link: link.link, endsAt: link.endsAt }
      })
    },

    async firstAdministratorLink(proposal) {
      if (await hasAdministrator(room)) return undefined
      const by: By = { actor: { kind: 'server' }, requestId: newId('start', random) }
      return act(by, { name: 'first administrator' }, async t => {
        const ended = await endLinks(t, { first: true }, now())
        const identity = isPersonIdentity(proposal) && proposal.length <= MAX_IDENTITY ? proposal : ''
        const link = await make(
          t,
          {
            kind: 'administrator',
            isFirst: true,
            identity,
            identityFixed: false,
            administrator: true,
            createdBy: 'server',
          },
          ADMIN_LINK_LIFETIME,
        )
        await deps.ledger.appendIn(t, [linkEntry('admin-link-created', link, undefined, true, by, ended)])
        return link.link
      })
    },
  }
}

/** With the pin of the root of trust: the first contact of a machine is never blind. */
const loginLine = ({ machinesUrl, rootFingerprint }: Room['deps']): string =>
  `keyman login ${machinesUrl} --fingerprint ${rootFingerprint()}`

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
) {
  const { deps, rp } = room
  const { link, identity, userHandle, passkey } = about
  const at = deps.now()
  await deps.ledger.bumpEpochs(t, [`person:${identity}`])
  if (!(await useLink(t, link.id, identity, at))) throw linkOver()
  // Two who make the first passkey at once: the second waits here, and then sees the first.
  const isFirstPasskey = (await fixRelyingParty(t, rp, at)) > 0
  if (link.isFirst && (await lockAdministrators(t)).length > 0) throw linkOver()
  const existing = isRecovery(link) ? await lockPerson(t, identity) : undefined
  const { administrator } = link
  if (existing) {
    if (!equalBytes(existing.userHandle, userHandle)) throw taken(identity)
    await makeAdministrator(t, identity)
  } else await insertPerson(t, { identity, administrator, userHandle, at })
  const id = newId('passkey', deps.random)
  await insertPasskey(t, { ...passkey, id, person: identity, name: about.passkeyName, at })
  const session = await beginBrowserSession(room, t, identity, id)
  await announceChange(t, [`person:${identity}`])
  const entry = {
    requestId: about.at.requestId,
    actor: { kind: 'person', identity, session: session.id },
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
        administrator: link.administrator,
        first: link.isFirst,
        recovery: existing !== undefined,
      },
      facts: [
        gone(linkId(link.id)),
        personFact({ identity, administrator: existing ? true : administrator, state: 'active', userHandle }),
        ...(isFirstPasskey ? [relyingPartyFact(rp)] : []),
        session.fact,
      ],
    },
    passkeyEntry(entry, { ...passkey, id, person: identity, name: about.passkeyName }),
  ])
  return session
}

/** With the credential's public key, so that an auditor can check later assertions of this person. */
export const passkeyEntry = (
  entry: Pick<Entry, 'requestId' | 'actor' | 'from'>,
  passkey: NewPasskey & { readonly id: string; readonly person: string; readonly name: string },
): Entry => ({
  ...entry,
  kind: 'passkey-added',
  target: passkey.id,
  facts: [passkeyFact(passkey)],
  details: {
    name: passkey.name,
    credentialId: toBase64Url(passkey.credentialId),
    publicKey: toBase64Url(passkey.publicKey),
    synced: passkey.synced,
  },
})

/** The operator's link for somebody who is here already. */
const isRecovery = (link: LinkRow): boolean => link.kind === 'administrator' && link.identityFixed

const hasAdministrator = async (room: Room): Promise<boolean> =>
  (await vouchedPersons(room)).some(person => person.administrator && person.state === 'active' && person.passkeys > 0)

const nameOf = ({ actor }: By): string => (actor.kind === 'person' ? actor.identity : actor.kind)

const linkEntry = (
  kind: 'invitation-created' | 'admin-link-created',
  link: { id: string; endsAt: Date; fact: Fact },
  identity: string | undefined,
  administrator: boolean,
  by: By,
  ended: readonly string[] = [],
): Entry => ({
  ...by,
  kind,
  target: identity ?? link.id,
  details: { link: link.id, identity, administrator, endsAt: link.endsAt.toISOString() },
  facts: [link.fact, ...ended.map(id => gone(linkId(id)))],
})

function assertLength(identity: string): void {
  if (identity.length > MAX_IDENTITY)
    throw invalid('identity', `an identity has at most ${MAX_IDENTITY} characters, so that it fits into a key ID`)
}

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

const taken = (identity: string): KeymanError =>
  new KeymanError('conflict', `${identity} belongs to somebody already, and an identity is never given twice`, {
    hint: 'choose another identity',
  })
/** The same for a link that never was: nobody learns which links there are. */
const linkOver = (): KeymanError =>
  new KeymanError('expired', 'this link was used already, has ended, or is not whole', {
    hint: 'ask for a new one; on a new server a restart prints one',
  })
