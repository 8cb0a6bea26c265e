import { type Entry, isEndedWithAll } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { isPersonIdentity } from '#shared/names.ts'
import { linkFact, linkId, newestLinkFacts, newestLinkId, personId } from '../records/facts.ts'
import { insertLink, type LinkRow, selectLink } from '../records/link-records.ts'
import { hashSecret, newId, newSecret } from '../records/secrets.ts'
import { addSeconds, type Room } from '../room.ts'
import type { By, Role } from '../standing.ts'

/** Of the operator's links and the first owner's, in seconds. */
export const ADMIN_LINK_LIFETIME = 900
/** `identity/passkey/session_…` has to fit into a key ID of 128 characters. */
export const MAX_IDENTITY = 90

/** The link of this secret that somebody could still use. Throws `expired`. */
export async function findLink({ deps }: Room, secret: string): Promise<LinkRow> {
  const { store, now, ledger } = deps
  const hash = hashSecret(secret)
  const read = async () => {
    const row = await selectLink(store, hash)
    return row && equalBytes(row.secretHash, hash) && !row.used && row.endsAt > now() ? [row] : []
  }
  const [link] = await ledger.vouched(read, row => [linkFact(row)])
  if (!link || link.used || link.endsAt <= now()) throw linkOver()
  // What the log says below is of now.
  await ledger.follow()
  if (isEndedWithAll(ledger.facts, linkId(link.id), link.createdBy)) throw linkOver()
  // Of the operator's links each is good for its quarter of an hour.
  const newest = link.kind === 'administrator' && !link.isFirst ? undefined : newestLinkId(link)
  if (newest !== undefined && ledger.facts.isOlder(linkId(link.id), newest)) throw linkOver()
  // Whoever may not send it any more has prepared nothing by it.
  roleToSend(deps, link)
  // Whatever was said of the person since was said of who they were then: it is no yes to a passkey that comes later.
  if (link.kind === 'reset' && ledger.facts.isOlder(linkId(link.id), personId(link.identity))) throw linkOver()
  return link
}

/** By what whoever made it may still send it; nothing where that was the operator. Throws `expired` where they may not. */
export function roleToSend({ roleToSend }: Room['deps'], link: LinkRow): Role | undefined {
  if (link.kind === 'administrator' || !isPersonIdentity(link.createdBy)) return undefined
  const role = roleToSend(link.createdBy, { ...link, kind: link.kind })
  if (!role) throw linkOver()
  return role
}

export async function makeLink(
  { deps: { random, now, publicUrl } }: Room,
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
  return { id, link: `${publicUrl}/enrol#${secret.text}`, endsAt, facts: [...newestLinkFacts(made), linkFact(made)] }
}

/** What a record says of a link that was made. */
export const linkDetails = (
  link: { readonly id: string; readonly endsAt: Date },
  identity: string | undefined,
  owner: boolean,
): NonNullable<Entry['details']> => ({ link: link.id, identity, owner, endsAt: link.endsAt.toISOString() })

/** With the pin of the root of trust: the first contact of a machine is never blind. */
export const loginLine = ({ machinesUrl, rootFingerprint }: Room['deps']): string =>
  `keyman login ${machinesUrl} --fingerprint ${rootFingerprint()}`

/** By the log: whoever hides the owners from a start must not make another by what it says. The first person is one. */
export const hasAnybody = ({ ledger }: Room['deps']): boolean =>
  !ledger.facts.ids('person:')[Symbol.iterator]().next().done

export const nameOf = ({ actor }: By): string => (actor.kind === 'person' ? actor.identity : actor.kind)

export function assertLength(identity: string): void {
  if (identity.length > MAX_IDENTITY)
    throw invalid('identity', `an identity has at most ${MAX_IDENTITY} characters, so that it fits into a key ID`)
}

export const taken = (identity: string): KeymanError =>
  new KeymanError('conflict', `${identity} belongs to somebody already, and an identity is never given twice`, {
    hint: `choose another identity; if it is that very person, who has no passkey any more: keyman person reset ${identity}`,
  })
/** The same for a link that never was: nobody learns which links there are. */
export const linkOver = (): KeymanError =>
  new KeymanError('expired', 'this link was used already, has ended, or is not whole', {
    hint: 'ask for a new one; on a new server a restart prints one',
  })
