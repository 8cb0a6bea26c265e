/** Pure: that all somebody had ended at once. The log's own notion: whoever it is of acts no more, whatever rows say. */
import type { Fact } from './facts.ts'

/**
 * That all sessions of a person ended at once, and the invitations that the person had made, but for one session. It says nothing of
 * rows: one that is kept from the statement which ends them, and put back later, is older than this.
 */
export const endedId = (person: string): string => `ended:${person}`
export const endedFact = (person: string, except?: string): Fact => ({ id: endedId(person), is: { except } })

/** Whose a passkey is, in the ID itself. No name has a space. */
export const passkeyOfId = (person: string, id: string): string => `passkey-of:${person} ${id}`
/** That all passkeys of a person were taken away at once: of rows it says nothing, so that one which is hidden meanwhile goes too. */
export const passkeysEndedId = (person: string): string => `passkeys-ended:${person}`
/** What says that a passkey is gone: the ID of that fact. */
export function passkeyEnd(
  facts: { isGone(id: string): boolean; isOlder(id: string, than: string): boolean },
  passkey: { readonly id: string; readonly person: string },
): string | undefined {
  const [own, all] = [`passkey:${passkey.id}`, passkeysEndedId(passkey.person)]
  return facts.isGone(own) ? own : facts.isOlder(own, all) ? all : undefined
}

/** Which link for a new passkey of this person is the newest: no older one of a reset is good, though its row was hidden from its end. */
export const resetLinkId = (person: string): string => `reset-link:${person}`

type Said = { isOlder(id: string, than: string): boolean; holds(fact: Fact): boolean }
/** Whether what is known under this ID came to be before all that the person had was ended. */
export const isEndedWithAll = (facts: Said, id: string, person: string): boolean =>
  facts.isOlder(id, endedId(person)) && !(id.startsWith('session:') && facts.holds(endedFact(person, id.slice(8))))

/** Of an entry that was decided before it is recorded: which end must be the newest there is, and as of which record. */
export function endOf(entry: Decided): { readonly id: string; readonly at: string } | undefined {
  const whose = entry.kind === 'login' ? entry.actor.identity : entry.target
  return entry.sinceEnd === undefined || whose === undefined ? undefined : { id: endedId(whose), at: entry.sinceEnd }
}
type Decided = {
  readonly kind: string
  readonly actor: { readonly kind?: unknown; readonly identity?: string | undefined }
  readonly target?: string | undefined
  readonly sinceEnd?: string | undefined
}
