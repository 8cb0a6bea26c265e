/** Pure: what of this room's rows lets a host in, as the records say it (`shared/audit/facts.ts`). */
import type { Fact, Ledger } from '#server/ledger/index.ts'
import { toHex } from '#shared/bytes.ts'
import type { SubjectPrincipal } from '#shared/names.ts'

export const hostId = (id: string): string => `host:${id}`
export const hostFact = (host: {
  readonly id: string
  readonly name: string
  readonly aliases?: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly place?: string | undefined
  readonly port: number
  readonly address?: string | undefined
  readonly clientSpki?: Uint8Array | undefined
}): Fact => ({
  id: hostId(host.id),
  is: {
    name: host.name,
    // Absent where there are none, as records say it that are older than aliases; so is the place.
    aliases: host.aliases?.length ? [...host.aliases] : undefined,
    labels: { ...host.labels },
    place: host.place,
    port: host.port,
    address: host.address,
    clientSpki: host.clientSpki && toHex(host.clientSpki),
  },
})

const NAME = 'host-name:'
const ownName = (name: string, id: string): Fact => ({ id: `${NAME}${name}`, is: id })
const alias = (name: string, id: string): Fact => ({ id: `${NAME}${name}`, is: `alias of ${id}` })
/** Which living host has a name: no second one gets it, and the host is taken out by it, though the database hides its row. */
export const hostNameFacts = (host: {
  readonly id: string
  readonly name: string
  readonly aliases: readonly string[]
}): Fact[] => [ownName(host.name, host.id), ...host.aliases.map(each => alias(each, host.id))]
/** What a change of its further names has to say of them. */
export const changedNameFacts = (
  facts: Pick<Known, 'holds'>,
  id: string,
  { added, lost }: { readonly added: readonly string[]; readonly lost: readonly string[] },
): Fact[] => [
  ...added.map(name => alias(name, id)),
  ...lost
    .map(name => alias(name, id))
    .filter(fact => facts.holds(fact))
    .map(fact => ({ id: fact.id, is: null })),
]
type Known = Pick<Ledger['facts'], 'has' | 'holds' | 'ids'>
/** Of one from before this was said the log knows it by its row alone. */
function namedBy(facts: Known, name: string, of: typeof ownName): string | undefined {
  if (!facts.has(ownName(name, '').id)) return undefined
  const living = [...facts.ids(hostId(''))].map(id => id.slice(hostId('').length))
  return living.find(id => facts.holds(of(name, id)))
}
/** The ID of the living host whose own name this is. */
export const idOfName = (facts: Known, name: string): string | undefined => namedBy(facts, name, ownName)
export const isNameTaken = (facts: Known, name: string): boolean =>
  [ownName, alias].some(of => namedBy(facts, name, of) !== undefined)
/** Whoever is told of hidden hosts reads the first few; a name is looked for among all names. */
const NAMED = 8
/** The living hosts that are none of these: each by its ID, and by its name where the log says that. */
export function hiddenHosts(facts: Known, shown: { has(id: string): boolean }): string[] {
  const hidden = [...facts.ids(hostId(''))].map(id => id.slice(hostId('').length)).filter(id => !shown.has(id))
  if (hidden.length === 0) return []
  const names = [...facts.ids(NAME)].map(id => id.slice(NAME.length))
  return hidden.map((id, n) => {
    const name = n < NAMED ? names.find(each => facts.holds(ownName(each, id))) : undefined
    return name === undefined ? id : `${name} (${id})`
  })
}
/** All that the log says of a host, to be said to be gone. */
export function goneHost(facts: Pick<Known, 'holds' | 'ids'>, id: string): Fact[] {
  const isIts = (name: string) => facts.holds(ownName(name, id)) || facts.holds(alias(name, id))
  const names = [...facts.ids(NAME)].filter(each => isIts(each.slice(NAME.length)))
  return [hostId(id), ...names].map(each => ({ id: each, is: null }))
}

export const tokenId = (hash: Uint8Array): string => `join-token:${toHex(hash)}`
export const tokenFact = (token: {
  readonly hash: Uint8Array
  readonly host: string
  readonly endsAt: Date
  readonly maker?: SubjectPrincipal | undefined
}): Fact => ({
  id: tokenId(token.hash),
  // Absent in one of the operator's, and as records say it that are older than this.
  is: { host: token.host, endsAt: token.endsAt.toISOString(), by: token.maker },
  until: token.endsAt,
})
